"""Small data, small networks and a store; nothing here touches the network or the home directory."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest
import torch
from hypothesis import settings

from orchestrator.store.store import Store
from orchestrator.tracking.environment import quiet_mlflow
from search_spaces.datasets import DatasetSpec
from tests.servers import SECRET, Bucket, starting
from trainables.data.images import ImageData, Split
from trainables.data.loading import load_dataset
from trainables.models.backbones import create_backbone

# Ctrl-C reaches tests and all that they start. A script's background jobs ignore SIGINT; so would their children, and a
# Python that starts so has no KeyboardInterrupt. A signal that has a handler here starts with its default in a child.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A test that is slow because the machine is busy is not wrong: nothing here is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

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
        view=digits.view,
    )


@pytest.fixture(scope="session")
def new_bucket() -> Iterator[Callable[[], Bucket]]:
    """Makes buckets on an S3 server of this machine, with the credentials in the environment."""
    with pytest.MonkeyPatch.context() as environment, starting("moto.server", port_option="-p") as start:
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        url, _ = start()
        options = f"endpoint_override={url.removeprefix('http://')}&scheme=http&region=us-east-1"

        def make() -> Bucket:
            bucket = Bucket(f"bucket-{uuid.uuid4().hex[:8]}", options)
            filesystem, _ = pafs.FileSystem.from_uri(f"{bucket.uri()}&allow_bucket_creation=true")
            filesystem.create_dir(bucket.name)
            return bucket

        yield make


@pytest.fixture
def bucket(new_bucket: Callable[[], Bucket]) -> Bucket:
    """An empty bucket."""
    return new_bucket()


@pytest.fixture
def s3_store(bucket: Bucket) -> Store:
    return Store(bucket.uri("/storage"))


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
