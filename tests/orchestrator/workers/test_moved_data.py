"""Data that was moved is found in the folder of datasets, is the same by its checksum, and changes no uid."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.plan import Plan, build_plan
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers.entry_points import count_bytes, data_checksum
from orchestrator.workers.moved_data import check_moved_data
from search_spaces.errors import ConfigError, UnavailableError
from search_spaces.grids.build import Choices, build_grid
from trainables.data.loading import check_available, load_dataset


def write_folder(path: Path) -> None:
    noise = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(noise.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(path / name / f"{number}.png")


def write_parquet(path: Path) -> None:
    noise, scratch = np.random.default_rng(0), path.with_suffix(".png")
    rows = []
    for number in range(40):
        Image.fromarray(noise.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(scratch)
        rows.append({"image": scratch.read_bytes(), "label": number % 2})
    scratch.unlink()
    pq.write_table(pa.Table.from_pylist(rows), path)


def plan_on(name: str) -> Plan:
    return build_plan(build_grid("smoke", Choices(dataset=name), lambda _: 15), lambda _: 15)


@pytest.mark.parametrize(
    ("kind", "names_it"),
    [("folder", False), ("parquet", False), ("folder", True)],
    ids=["folder in data-dir", "parquet in data-dir", "data-dir is it"],
)
def test_moved_data_is_found_and_the_same_by_its_checksum(
    tmp_path: Path, store: Store, kind: str, names_it: bool
) -> None:
    old, new = tmp_path / "home" / "pets", tmp_path / "disk" / "pets"
    old.parent.mkdir()
    (write_folder if kind == "folder" else write_parquet)(old)
    plan = plan_on(f"{kind}:{old}")
    dataset, before = plan.nodes[0].dataset, data_checksum(plan.nodes[0].dataset, tmp_path / "data")
    trial_of(store, plan.nodes[0]).write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256=before)
    new.parent.mkdir()
    shutil.move(old, new)
    data_dir, lines = new if names_it else new.parent, []
    check_available(dataset, data_dir)
    check_moved_data(plan, store, data_dir, lines.append)
    assert lines == [f"{kind}:{old} is not there any more: its images are read from {new}"]
    data = load_dataset(dataset, data_dir)
    assert data.sha256() == before
    assert count_bytes(dataset, data_dir) == sum(each.images_BCHW.nbytes for each in data.splits.values())
    assert [node.uid for node in plan_on(f"{kind}:{old}").nodes] == [node.uid for node in plan.nodes]


def test_other_images_in_the_place_of_moved_data_are_refused_before_anything_runs(tmp_path: Path, store: Store) -> None:
    write_folder(tmp_path / "pets")
    plan = plan_on(f"folder:{tmp_path}/pets")
    checksum = data_checksum(plan.nodes[0].dataset, tmp_path)
    trial_of(store, plan.nodes[0]).write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256=checksum)
    (tmp_path / "disk").mkdir()
    shutil.move(tmp_path / "pets", tmp_path / "disk" / "pets")
    Image.new("RGB", (32, 32)).save(tmp_path / "disk" / "pets" / "dog" / "7.png")
    with pytest.raises(ConfigError, match=rf"disk/pets holds other images .* trained on \({checksum[:12]}\): name"):
        check_moved_data(plan, store, tmp_path / "disk", lambda line: None)


def test_data_that_is_at_its_place_is_read_there_whatever_lies_in_the_folder_of_datasets(
    tmp_path: Path, store: Store
) -> None:
    for folder in ("home", "disk"):
        write_folder(tmp_path / folder / "pets")
    plan, lines = plan_on(f"folder:{tmp_path}/home/pets"), list[str]()
    check_moved_data(plan, store, tmp_path / "disk", lines.append)
    assert lines == []
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(UnavailableError, match="home/pets is no folder on this machine"):
        check_available(plan.nodes[0].dataset, tmp_path)
