"""Datasets by name or URI: what a name may be, and that it means the same from every folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from search_spaces.dataset_kinds import DATASETS
from search_spaces.datasets import DatasetSpec, dataset_slug, dataset_spec
from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.model import parse, vary


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("digits", 32),
        ("mnist-5k", 32),
        ("cifar10", 32),
        ("oxford-iiit-pet", 224),
        ("folder:/a", 224),
        ("parquet:/a", 224),
    ],
)
def test_every_kind_has_a_default_size_that_can_be_changed(name: str, image_size: int) -> None:
    assert dataset_spec(name).image_size == image_size
    assert dataset_spec(name, image_size=48).image_size == 48


def test_every_kind_is_covered_above() -> None:
    assert set(DATASETS) == {"digits", "mnist-5k", "cifar10", "oxford-iiit-pet", "folder", "parquet"}


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_relative_paths_are_made_absolute_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = dataset_spec(f"{kind}:x/../flowers")
    assert spec.name == f"{kind}:{tmp_path}/flowers"
    assert parse(DatasetSpec, {"name": f"{kind}:flowers", "image_size": 224}) == spec
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert parse(DatasetSpec, spec.model_dump(mode="json")) == spec
    monkeypatch.setenv("HOME", "/home/me")
    assert dataset_spec(f"{kind}:~/flowers").place == "/home/me/flowers"


def test_queries_and_uris_stay_as_they_are() -> None:
    assert dataset_spec("parquet:/a/b.parquet?image=img&label=y").place == "/a/b.parquet?image=img&label=y"
    assert dataset_spec("parquet:s3://b/../c/?region=x").place == "s3://b/../c/?region=x"
    assert dataset_spec("folder:/what?").place == "/what?"


@pytest.mark.parametrize("name", ["cifar", "folder", "parquet", "digits:", "digits:/a", "zip:/a", "s3://bucket/x", ""])
def test_names_of_no_dataset_list_the_known_forms(name: str) -> None:
    known = r"Known: cifar10, digits, folder:PATH, mnist-5k, oxford-iiit-pet, parquet:URI\."
    with pytest.raises(UnknownNameError, match=known):
        dataset_spec(name)


@pytest.mark.parametrize("name", ["folder:", "parquet:", "parquet:?image=img", "folder:s3://bucket/x"])
def test_places_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="folder:PATH reads class folders of this machine, parquet:URI also"):
        dataset_spec(name)


@pytest.mark.parametrize(
    "uri", ["s3://me:secret@bucket/x", "s3://secret@bucket", "s3://me:secret/with/slash@bucket/x", "gs://me:secret?x"]
)
@pytest.mark.parametrize("kind", ["parquet:", "folder:", "parqet:", ""])
def test_credentials_are_refused_and_never_repeated(kind: str, uri: str) -> None:
    values = {"name": kind + uri, "image_size": 32}
    for build in (lambda: dataset_spec(kind + uri), lambda: parse(DatasetSpec, values)):
        with pytest.raises(ConfigError, match="the dataset URI holds credentials") as caught:
            build()
        assert "secret" not in str(caught.value)
    with pytest.raises(ValidationError) as shown:
        DatasetSpec.model_validate(values)
    assert "secret" not in str(shown.value)


def test_ports_and_at_signs_of_paths_are_no_credentials() -> None:
    for uri in ("s3://bucket/a@b:c/", "s3://bucket/?endpoint_override=host:9000", "hdfs://host:8020/x"):
        assert dataset_spec(f"parquet:{uri}").place == uri


def test_fields_that_are_not_used_stay_out_of_the_identity() -> None:
    assert dataset_spec("digits").model_dump(mode="json") == {
        "name": "digits",
        "image_size": 32,
        "validation_fraction": 0.1,
        "test_fraction": 0.2,
        "split_seed": 0,
    }
    smaller = dataset_spec("digits", train_images=500)
    assert smaller.model_dump(mode="json")["train_images"] == 500
    assert vary(smaller, train_images=None) == dataset_spec("digits")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=":"), min_size=1))
def test_every_dataset_can_name_a_sweep(path: str) -> None:
    store = Store("/nowhere", create=False)
    for kind in ("folder", "parquet"):
        assert Sweep(store, f"quick-{dataset_slug(f'{kind}:/data/{path}')}").name.startswith(f"quick-{kind}")


@pytest.mark.parametrize(
    ("name", "choices", "num_trained"),
    [
        ("cifar10", {}, 45_000),
        ("oxford-iiit-pet", {}, 3680 - 368),
        ("digits", {}, 1797 - 359 - 144),
        ("mnist-5k", {"test_fraction": 0.3}, 5000 - 1500 - 350),
        ("digits", {"validation_fraction": 0.5}, 1797 - 359 - 719),
        ("digits", {"test_fraction": 0.5}, 1797 - 898 - 90),
        ("cifar10", {"train_images": 10_000}, 9000),
        ("parquet:/a", {"train_images": 100}, 90),
        ("parquet:/a", {"test_images": 100}, None),
    ],
)
def test_number_of_trained_images_leaves_out_test_and_validation(
    name: str, choices: dict[str, float], num_trained: int | None
) -> None:
    assert vary(dataset_spec(name), **choices).num_trained == num_trained


@pytest.mark.parametrize(
    ("name", "image_size", "stored_size", "num_images", "num_trained"),
    [
        # 1,797 images, of which a fifth is for the test and a tenth of the rest for validation.
        ("digits", 32, 32, 1797, 1294),
        ("cifar10", 32, 32, 60_000, 45_000),
        # The official lists: 3,680 for training, 3,669 for the test.
        ("oxford-iiit-pet", 224, 256, 7349, 3312),
        ("folder:/data/flowers", 224, 256, 0, None),
        ("parquet:/data/flowers", 224, 256, 0, None),
    ],
)
def test_what_is_known_of_a_dataset_before_it_is_loaded(
    name: str, image_size: int, stored_size: int, num_images: int, num_trained: int | None
) -> None:
    spec = dataset_spec(name)
    assert (spec.image_size, spec.num_trained) == (image_size, num_trained)
    assert spec.stored_size == (stored_size, stored_size)
    assert spec.num_bytes == num_images * 3 * stored_size**2


@pytest.mark.parametrize(
    ("field", "kept", "refused"),
    [
        ("image_size", (8, 64), (7, 0)),
        ("validation_fraction", (0.01, 0.99), (0, 1, -0.1)),
        ("test_fraction", (0.01, 0.99), (0, 1, -0.1)),
        ("train_images", (1, None), (0,)),
        ("test_images", (1, None), (0,)),
    ],
)
def test_numbers_of_a_dataset_stay_within_their_bounds(
    field: str, kept: tuple[float | None, ...], refused: tuple[float, ...]
) -> None:
    values = {"name": "digits", "image_size": 32}
    for value in kept:
        assert getattr(parse(DatasetSpec, values | {field: value}), field) == value
    for value in refused:
        with pytest.raises(ConfigError, match=field):
            parse(DatasetSpec, values | {field: value})
