"""Every field of a dataset's specification reaches what is loaded; see `tests.fields`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search_spaces.datasets import DatasetSpec
from search_spaces.model import vary
from tests.fields import Change, check_change, every_field
from trainables.data.loading import load_dataset

SPLITS = ("train", "validation", "test")
ENTRIES = {
    DatasetSpec: {
        "name": Change("folder", ("classes", "ids", *SPLITS)),
        "image_size": Change(16, ("view", *SPLITS)),
        "validation_fraction": Change(0.3, ("ids", "train", "validation")),
        "test_fraction": Change(0.4, ("ids", *SPLITS)),
        "split_seed": Change(1, ("ids", *SPLITS)),
        # Images are numbered among those that are kept.
        "train_images": Change(200, ("ids", "train", "validation")),
        "test_images": Change(50, ("ids", "test")),
        "mean": Change((0.5, 0.5, 0.5), ("view",)),
        "std": Change((0.5, 0.5, 0.5), ("view",)),
        "interpolation": Change("nearest", SPLITS),
        "crop": Change(0.5, SPLITS),
        "crop_mode": Change("pad", SPLITS),
        # Images are numbered among those that are kept.
        "drop_duplicates": Change(True, ("ids", "train", "validation")),
    }
}
BASE = DatasetSpec(name="digits", image_size="8x24")


def observe(spec: DatasetSpec) -> dict[str, Any]:
    """The pixels of every split in the dataset's order, which image is where, the classes and the size."""
    data = load_dataset(spec)
    seen: dict[str, Any] = {name: data.splits[name].images_BCHW for name in SPLITS}
    ids = {name: data.splits[name].image_ids_B for name in SPLITS}
    return seen | {"ids": ids, "classes": data.class_names, "view": data.view}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Two classes of a few images of noise, each twice."""
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "zoo" / label).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (10, 10, 3), np.uint8)
            for name in (number, f"copy {number}"):
                Image.fromarray(pixels).save(tmp_path / "zoo" / label / f"{name}.png")
    return f"folder:{tmp_path}/zoo"


@pytest.mark.parametrize(("kind", "field", "change"), every_field([DatasetSpec], ENTRIES))
def test_a_field_of_a_dataset_changes_what_it_should_and_nothing_else(
    kind: type[DatasetSpec], field: str, change: Change | None, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    value = change and (folder if change.value == "folder" else change.value)
    # Bundled digits are read without their encoded images.
    base = vary(BASE, name=folder) if field == "drop_duplicates" else BASE
    check_change(field, change, observe(base), observe(vary(base, **{field: value})))
