"""Small data, small networks and a store; nothing here touches the network or the home directory."""

import os
from pathlib import Path

import pytest
import torch

from orchestrator.store import Store
from orchestrator.tracking_uri import quiet_mlflow
from search_spaces.datasets import DatasetSpec
from trainables.data.datasets import load_dataset
from trainables.data.images import ImageData, Split
from trainables.models.backbones import create_backbone

# Before anything imports mlflow, which would otherwise leave a file in the home directory.
quiet_mlflow()

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side; threads of one would slow the others."""
    torch.set_num_threads(1)
    os.environ["RAY_AUTH_MODE"] = "disabled"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "storage"))


@pytest.fixture(scope="session")
def digits() -> ImageData:
    """The real digits at 32 px."""
    return load_dataset(DatasetSpec(name="digits", image_size=32))


@pytest.fixture(scope="session")
def few_digits(digits: ImageData) -> ImageData:
    """128 training and 64 held-out digits, for tests that train."""
    sizes = {"train": 128, "validation": 64, "test": 64}
    return ImageData(
        splits={
            name: Split(
                images_BCHW=split.images_BCHW[: sizes[name]],
                labels_B=split.labels_B[: sizes[name]],
                image_ids_B=split.image_ids_B[: sizes[name]],
            )
            for name, split in digits.splits.items()
        },
        class_names=digits.class_names,
        image_size=digits.image_size,
    )


@pytest.fixture
def white_box() -> torch.nn.Module:
    """A frozen test_resnet with random weights."""
    torch.manual_seed(1)
    return create_backbone("test_resnet", 10).eval().requires_grad_(False)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real samples, which a machine may lack."""
    return SHARED_DATA


@pytest.fixture
def pets_dir() -> Path:
    """A folder with 598 listed Pets images in the official layout, where the machine has it."""
    if not (SHARED_DATA / "oxford-iiit-pet" / "images").is_dir():
        pytest.skip("the Oxford-IIIT Pets sample is not on this machine")
    return SHARED_DATA
