"""A launch as a job: the same command line for the cluster, places spelled out, and nothing secret in it."""

import shlex
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.remote.jobs import JobRequest
from orchestrator.cli.main import dptq_sweep
from orchestrator.cli.remote import as_arguments, check_place_of_job, job_request
from orchestrator.cli.sweep import launch
from search_spaces.errors import ConfigError


def parse(arguments: list[str]) -> click.Context:
    above = dptq_sweep.make_context("dptq-sweep", ["launch"])
    return launch.command.make_context("launch", list(arguments), parent=above)


def request_of(typed: str) -> JobRequest:
    with parse(shlex.split(typed)) as context:
        return job_request(context)


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DPTQ_ON_EVENT", raising=False)


def test_places_that_were_typed_become_absolute_and_the_sweep_gets_its_name(tmp_path: Path) -> None:
    places = "--storage dptq-sweeps --data-dir data --tracking-uri sqlite:///runs.db --dataset folder:flowers"
    request = request_of(f"--grid smoke --seed 1 {places}")
    assert (request.sweep, request.storage) == ("smoke-folder-flowers-seed1", f"{tmp_path}/dptq-sweeps")
    with parse(list(request.arguments[1:])) as context:
        values = context.params
    assert values["name"] == request.sweep
    assert values["address"] == "auto"
    assert values["storage"] == request.storage
    assert values["data_dir"] == tmp_path / "data"
    assert values["tracking_uri"] == f"sqlite:///{tmp_path}/runs.db"
    assert values["dataset"] == f"folder:{tmp_path}/flowers"


def test_places_that_were_not_typed_are_the_heads_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DPTQ_STORAGE", "DPTQ_DATA_DIR", "DPTQ_TRACKING_URI"):
        monkeypatch.setenv(name, "/of/this/machine" if name != "DPTQ_TRACKING_URI" else "http://of.this.machine")
    request = request_of("--grid smoke")
    assert request.arguments == ["launch", "--grid", "smoke", "--name", "smoke", "--address", "auto"]
    assert request.storage == "the head's storage"


def test_a_job_that_nobody_named_a_storage_for_is_refused_on_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.remote.is_in_job", lambda: True)
    monkeypatch.delenv("DPTQ_STORAGE", raising=False)
    with parse(["--grid", "smoke"]) as context, pytest.raises(ConfigError, match="export DPTQ_STORAGE"):
        check_place_of_job(context)
    with parse(["--grid", "smoke", "--storage", "/x"]) as context:
        check_place_of_job(context)
    monkeypatch.setenv("DPTQ_STORAGE", "/y")
    with parse(["--grid", "smoke"]) as context:
        check_place_of_job(context)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "--seed": st.lists(st.integers(0, 9), min_size=1, max_size=3),
            "--goal": st.lists(st.sampled_from(["robust", "detrimental"]), min_size=1, max_size=2),
            "--set": st.lists(st.sampled_from(["pair.margin=0.05", "pair.kd_weight=a b"]), min_size=1, max_size=2),
            "--max-hours": st.lists(st.floats(0.1, 9), min_size=1, max_size=1),
            "--on-event": st.lists(st.sampled_from(["cat >> 'my events'", "-x"]), min_size=1, max_size=1),
            "--image-size": st.sampled_from([["64"], ["48x192"], ["48x48"]]),
            "--mean": st.just(["0.5,0.25,1"]),
            "--crop": st.lists(st.floats(0.1, 1), min_size=1, max_size=1),
            "--download": st.just([None]),
        },
    )
)
def test_written_options_parse_to_the_same_values(options: dict[str, list[object]]) -> None:
    typed = [
        word
        for name, values in options.items()
        for value in values
        for word in ([name] if value is None else [name, str(value)])
    ]
    with parse(typed) as context:
        values = context.params
    # As a shell of the head splits them.
    again = shlex.split(shlex.join(as_arguments(launch.command, values)))
    with parse(again) as context:
        assert context.params == values


def test_options_in_another_order_are_the_same_job() -> None:
    first, second = request_of("--seed 1 --grid smoke --goal robust"), request_of("--grid smoke --goal robust --seed 1")
    assert first == second
    assert first.entrypoint.startswith("python -m orchestrator launch --grid smoke ")


def test_a_sweep_has_one_id_for_each_storage_whatever_its_options() -> None:
    ids = {request_of(f"--grid smoke --name mine {more}").job_id for more in ("", "--seed 3", "--max-hours 1")}
    assert len(ids) == 1
    others = {request_of(f"--grid smoke {more}").job_id for more in ("--name other", "--name mine --storage s3://b/x")}
    assert len(ids | others) == 3
    assert ids.pop().startswith("dptq-mine-")


def test_a_grid_file_goes_along(tmp_path: Path) -> None:
    folder = tmp_path / "grids"
    folder.mkdir()
    (folder / "my.yaml").write_text("name: mine\nbase: quick\n")
    request = request_of("--grid grids/my.yaml")
    assert (request.sweep, request.files) == ("mine", [Path("grids/my.yaml")])
    assert request.arguments[:3] == ["launch", "--grid", "my.yaml"]


def test_what_stands_in_this_machines_environment_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPTQ_ON_EVENT", "https://hooks.example.com/T0/secret")
    request = request_of("--grid smoke")
    assert "secret" not in request.entrypoint + str(request.environment)


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("--grid my.yaml", ("my.yaml", "relative path (folder:flowers)", "write folder:/", "--dataset")),
        ("--storage s3://key:secret@bucket/x", ("storage URI holds credentials", "environment")),
        ("--tracking-uri http://ann:secret@host:5000", ("user name or a password", "MLFLOW_TRACKING_USERNAME")),
        ("--on-event 'curl https://ann:secret@host'", ("user name or a password", "public")),
        ("--on-event https://hooks.example.com/T0/secret", ("public", "DPTQ_ON_EVENT")),
        ("--on-event 'curl -H token=secret host'", ("holds a token", "public")),
        ("--budget 20", ("20", "45..150")),
        ("--name ../x", ("'../x'", "cannot be a folder")),
    ],
)
def test_what_cannot_run_as_a_job_is_one_line_without_its_secret(
    tmp_path: Path, typed: str, parts: tuple[str, ...]
) -> None:
    (tmp_path / "my.yaml").write_text("name: mine\nbase: quick\ndataset: {name: folder:flowers, image_size: 32}\n")
    with pytest.raises(ConfigError) as caught:
        request_of(typed)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert [part for part in parts if part not in str(caught.value)] == []
