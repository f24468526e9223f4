"""A dataset is an entry, a module and its line in the registry: added to a copy, it is planned, loaded, trained on."""

import json
from pathlib import Path

import pytest

from tests.extend.copies import copy_packages, dptq_sweep, edit, run_python

MODULE = '''"""`stripes`: 400 made images of four directions, gray stripes under noise."""

import numpy as np
import torch
from torch import Tensor

from search_spaces.datasets import DatasetSpec
from trainables.data.listings import Found, Listing

CLASS_NAMES = ("horizontal", "rising", "vertical", "falling")
NUM_IMAGES = 400


def find_stripes(spec: DatasetSpec) -> Found:
    """Finds nothing on disk: making the images is faster than a cache file."""
    return Found(sources=(), list_images=lambda: _list_stripes(spec))


def _list_stripes(spec: DatasetSpec) -> Listing:
    labels_B = np.arange(NUM_IMAGES) % len(CLASS_NAMES)

    def load(kept_B: np.ndarray) -> Tensor:
        return torch.stack([_draw(int(labels_B[image]), spec.stored_size, seed=int(image)) for image in kept_B])

    return Listing(labels_B=labels_B, class_names=CLASS_NAMES, num_training=None, load=load)


def _draw(label: int, size: tuple[int, int], *, seed: int) -> Tensor:
    """Returns one uint8 image (3, height, width)."""
    generator = np.random.default_rng(seed)
    angle = np.pi * label / len(CLASS_NAMES)
    rows_HW, columns_HW = np.mgrid[: size[0], : size[1]]
    wave_HW = np.sin(np.cos(angle) * rows_HW + np.sin(angle) * columns_HW + generator.uniform(0, 2 * np.pi))
    gray_HW = 128 + 60 * wave_HW + 20 * generator.standard_normal(size)
    return torch.from_numpy(gray_HW.clip(0, 255).astype(np.uint8)).expand(3, -1, -1)
'''
KINDS, PETS = "_KINDS = {\n", "from trainables.data.pets import download_pets, find_pets\n"
ENTRY = (
    "DATASETS: dict[str, DatasetInfo] = {\n",
    "DATASETS: dict[str, DatasetInfo] = {\n"
    '    "stripes": DatasetInfo(image_size=32, is_bundled=True, num_images=400),\n',
)
REGISTRATION = (
    (KINDS, KINDS + '    "stripes": _Kind(find=lambda spec, _: find_stripes(spec)),\n'),
    (PETS, PETS + "from trainables.data.stripes import find_stripes\n"),
)
TRAIN = """
import torch
from search_spaces.datasets import dataset_spec
from search_spaces.grids.named import SMOKE
from search_spaces.recipes import TeacherRecipe
from trainables.data.loading import check_available, load_dataset
from trainables.stages import registry
from trainables.training_loop import finish

spec = dataset_spec("stripes")
check_available(spec)
data = load_dataset(spec)
recipe = TeacherRecipe(**SMOKE.teacher | {"architecture": "test_resnet"})
run = registry.start_stage("teacher", recipe, data, parent=None, seed=0, device=torch.device("cpu"))
print(registry.__file__, recipe.epochs, data.num_classes, spec.num_trained, len(data.splits["train"]))
print(finish(run).metrics["test/accuracy"])
"""


@pytest.mark.slow
def test_a_dataset_added_in_three_places_is_planned_loaded_and_trained_on(tmp_path: Path) -> None:
    root = copy_packages(tmp_path)
    datasets, loading = root / "search_spaces/dataset_kinds.py", root / "trainables/data/loading.py"
    (root / "trainables/data/stripes.py").write_text(MODULE)
    edit(datasets, *ENTRY)
    for each in REGISTRATION:
        edit(loading, *each)

    planned = dptq_sweep(root, "plan", "--grid", "smoke", "--dataset", "stripes", "--json")
    assert {node["stage"] for node in json.loads(planned)["nodes"]} == {"teacher", "distill", "pair"}

    about, accuracy = run_python(root, "-c", TRAIN).splitlines()
    assert about == f"{root}/trainables/stages/registry.py 1 4 288 288"
    assert float(accuracy) > 0.25  # four classes
