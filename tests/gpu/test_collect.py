"""What travels to a GPU machine fits, and makes a bare Python able to run the script."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from search_spaces.datasets import dataset_spec
from tests.gpu import bring, collect
from trainables.data.loading import load_dataset

ROOT = Path(__file__).resolve().parents[2]


def write_images(folder: Path, part: str, number: int) -> None:
    """Writes a part of a dataset as CIFAR-10 is handed out: JPEG files in structs, and labels."""
    rows = []
    for index in range(number):
        file = io.BytesIO()
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "JPEG")
        rows.append({"image": {"bytes": file.getvalue(), "path": None}, "label": index % 10})
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", struct), ("label", pa.int64())])
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"{part}.parquet", compression="none")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for part, number in (("train", 400), ("test", 50)):
        write_images(tmp_path / "source", part, number)
    return tmp_path / "source"


def test_the_repository_and_all_that_is_brought_fit_together() -> None:
    assert collect.size_of_tree() + collect.LIMIT_BYTES < collect.TRAVEL_BYTES


def test_what_was_collected_here_fits(tmp_path: Path) -> None:
    folder = ROOT / collect.FOLDER
    if not folder.is_dir():
        pytest.skip("`make gpu-wheels` was not run here")
    carried = sum(collect.size_of(folder / name) for name in (bring.WHEELS, collect.DATA))
    assert carried <= collect.LIMIT_BYTES


def test_images_are_smaller_and_otherwise_the_same(source: Path, tmp_path: Path) -> None:
    before = collect.size_of(source)
    target = tmp_path / "bring/cifar10"
    assert collect.compress_images(source, target, limit=before) == 400
    assert collect.size_of(target) < before
    for part in ("train", "test"):
        assert pq.read_table(target / f"{part}.parquet").equals(pq.read_table(source / f"{part}.parquet"))


def test_as_many_training_images_are_kept_as_fit_of_every_class_alike(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "bring/cifar10"
    limit = collect.size_of(source) // 2
    kept = collect.compress_images(source, target, limit=limit)
    assert 50 < kept < 400
    assert collect.size_of(target) <= limit
    labels = pq.read_table(target / "train.parquet")["label"].to_numpy()
    assert np.ptp(np.bincount(labels)) <= 1
    data = load_dataset(dataset_spec("cifar10"), tmp_path / "bring")
    assert len(data.splits["train"]) + len(data.splits["validation"]) == kept
    assert len(data.splits["test"]) == 50


def test_every_wheel_is_pinned() -> None:
    assert [name.partition("==")[0] for name in collect.pinned(collect.PACKAGES)] == list(collect.PACKAGES)


def test_a_missing_package_comes_from_its_wheel(tmp_path: Path) -> None:
    wheels = tmp_path / "bring" / bring.WHEELS
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "absent-1.5-py3-none-any.whl", "w") as wheel:
        wheel.writestr("absent_module.py", "VALUE = 3\n")
        wheel.writestr("absent-1.5.dist-info/METADATA", "Metadata-Version: 2.1\nName: absent\nVersion: 1.5\n")
    script = f"""
from pathlib import Path
from tests.gpu import bring
for least, works in (((1, 5), True), ((1, 6), False)):
    bring.NEEDS = (bring.Need("absent", "absent_module", least),)
    try:
        print(bring.prepare(Path({str(tmp_path / "bring")!r}), Path({str(tmp_path / "site")!r})))
        import absent_module
        assert absent_module.VALUE == 3
    except SystemExit as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "absent from 1 wheels"
    assert "not importable" in second
    assert "make gpu-wheels" in second


def test_nothing_is_missing_where_the_tests_run() -> None:
    assert bring.find_missing() == []


def test_a_section_imports_nothing_that_a_bare_machine_lacks() -> None:
    sections = ", ".join(f"tests.gpu.sections.{path.stem}" for path in (ROOT / "tests/gpu/sections").glob("[!_]*.py"))
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {sections}; print(*sys.modules)"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    imported = {name.split(".")[0] for name in found.split()}
    assert not imported & {"ray", "mlflow", "optuna", "onnx", "onnxruntime", "click", "rich"}
