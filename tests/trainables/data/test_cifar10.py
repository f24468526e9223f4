"""CIFAR-10 from Parquet files or the binary archive, and downloads from a server on this machine."""

import functools
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import OxfordIIITPet

from search_spaces.datasets import DatasetSpec, dataset_spec
from search_spaces.errors import ConfigError, UnavailableError
from tests.trainables.data.squares import decode_square
from trainables.data import cifar10
from trainables.data.cache import CACHE_VARIABLE
from trainables.data.cifar10 import CLASS_NAMES, TEST_FILE, TRAINING_FILES, find_cifar10
from trainables.data.loading import check_available, load_dataset

SPEC = dataset_spec("cifar10")
NUM_RECORDS = 20


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def cifar10_dir(shared_data: Path) -> Path:
    """A folder of datasets with the real CIFAR-10, where the machine has it."""
    if not (shared_data / "cifar10" / "train.parquet").is_file():
        pytest.skip("CIFAR-10 is not on this machine")
    return shared_data


def records(number: int) -> np.ndarray:
    """Two made-up images of every class, as the binary archive stores them."""
    content = np.random.default_rng(number).integers(0, 256, (NUM_RECORDS, 3073), dtype=np.uint8)
    content[:, 0] = np.arange(NUM_RECORDS) % 10
    return content


BATCHES = {name: records(number) for number, name in enumerate((*TRAINING_FILES, TEST_FILE))}


def write_batches(data_dir: Path) -> Path:
    folder = data_dir / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, content in BATCHES.items():
        content.tofile(folder / name)
    return folder


def test_binary_archive_gives_its_records_under_the_ten_names(tmp_path: Path) -> None:
    write_batches(tmp_path)
    data = load_dataset(SPEC, tmp_path)
    assert data.class_names == CLASS_NAMES
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 90, "validation": 10, "test": 20}
    everything = np.concatenate(list(BATCHES.values()))
    for split in data.splits.values():
        for image_CHW, label, position in zip(split.images_BCHW, split.labels_B, split.image_ids_B, strict=True):
            assert image_CHW.numpy().tobytes() == everything[position, 1:].tobytes()
            assert int(label) == everything[position, 0]


def test_binary_images_of_another_size_are_resized_as_files_are(tmp_path: Path) -> None:
    write_batches(tmp_path)
    image_CHW = load_dataset(dataset_spec("cifar10", image_size=48), tmp_path).splits["test"].images_BCHW[3]
    pixels = BATCHES[TEST_FILE][3, 1:].reshape(3, 32, 32).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    assert image_CHW.equal(decode_square(buffer.getvalue(), 48))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "test_batch.bin is no file of CIFAR-10: its 0 bytes"),
        (bytes(3072), "its 3072 bytes are not records of 3073"),
        (bytes([10]) + bytes(3072), r"each beginning with a label 0\.\.9"),
        (None, r"test_batch\.bin \(missing\)\. Unpack https://.* again, or launch with --download"),
    ],
    ids=["empty", "short", "label of no class", "missing"],
)
def test_damaged_archive_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = write_batches(tmp_path) / TEST_FILE
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnavailableError, match=message) as caught:
        check_available(SPEC, tmp_path)
    assert "\n" not in str(caught.value)


def test_pickled_archive_is_never_read(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(
        UnavailableError, match=rf"cifar10 is not in {tmp_path}/cifar10: launch with --download, or put"
    ):
        check_available(SPEC, tmp_path)


def test_one_part_alone_is_refused(cifar10_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train.parquet").symlink_to(cifar10_dir / "cifar10" / "train.parquet")
    with pytest.raises(ConfigError, match=r"holds train\*\.parquet and no test\*\.parquet"):
        check_available(SPEC, tmp_path)


def test_some_of_the_real_images_load_as_they_are(cifar10_dir: Path) -> None:
    data = load_dataset(dataset_spec("cifar10", train_images=500, test_images=100), cifar10_dir)
    assert data.class_names == CLASS_NAMES
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 450, "validation": 50, "test": 100}
    test = pq.read_table(cifar10_dir / "cifar10" / "test.parquet").to_pylist()
    known = {decode_square(row["image"]["bytes"], 32).numpy().tobytes(): row["label"] for row in test}
    split = data.splits["test"]
    assert split.images_BCHW.shape[1:] == (3, 32, 32)
    for image_CHW, label in zip(split.images_BCHW, split.labels_B, strict=True):
        assert known[image_CHW.numpy().tobytes()] == int(label)


def test_all_sixty_thousand_real_images_are_listed(cifar10_dir: Path) -> None:
    listing = find_cifar10(SPEC, cifar10_dir).list_images()
    assert listing.num_training == 50000
    assert np.bincount(listing.labels_B[:50000]).tolist() == [5000] * 10
    assert np.bincount(listing.labels_B[50000:]).tolist() == [1000] * 10


@dataclass(frozen=True)
class Server:
    """An HTTP server on this machine."""

    folder: Path
    url: str

    def add(self, name: str, files: dict[str, bytes]) -> tuple[str, str]:
        """Serves a .tar.gz archive; returns its URL and its MD5."""
        with tarfile.open(self.folder / name, "w:gz") as archive:
            for path, content in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return f"{self.url}/{name}", hashlib.md5((self.folder / name).read_bytes()).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Server(folder, f"http://127.0.0.1:{running.server_address[1]}")
        running.shutdown()
        thread.join()


def serve_cifar10(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Serves the archive and returns its URL."""
    files = {f"cifar-10-batches-bin/{name}": content.tobytes() for name, content in BATCHES.items()}
    url, md5 = server.add("cifar.tar.gz", files)
    monkeypatch.setattr(cifar10, "ARCHIVE_URL", url)
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", md5)
    return url


def test_download_fetches_the_archive_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_cifar10(server, monkeypatch)
    with pytest.raises(UnavailableError, match="launch with --download"):
        check_available(SPEC, tmp_path / "data")
    check_available(SPEC, tmp_path / "data", download=True)
    assert len(load_dataset(SPEC, tmp_path / "data").splits["test"]) == NUM_RECORDS
    monkeypatch.setattr(cifar10, "ARCHIVE_URL", "http://127.0.0.1:9/nobody-listens")
    check_available(SPEC, tmp_path / "data", download=True)


def test_download_repairs_a_damaged_copy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_cifar10(server, monkeypatch)
    path = write_batches(tmp_path / "data") / TEST_FILE
    path.write_bytes(b"")
    check_available(SPEC, tmp_path / "data", download=True)
    assert path.read_bytes() == BATCHES[TEST_FILE].tobytes()


@pytest.mark.parametrize("trouble", ["no network", "no such file", "other content"])
def test_download_that_fails_is_one_line_with_the_cure(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    url = serve_cifar10(server, monkeypatch)
    if trouble == "no network":
        monkeypatch.setattr(cifar10, "ARCHIVE_URL", "http://127.0.0.1:9/x.tar.gz")
    if trouble == "no such file":
        monkeypatch.setattr(cifar10, "ARCHIVE_URL", f"{url}.gone")
    if trouble == "other content":
        monkeypatch.setattr(cifar10, "ARCHIVE_MD5", "0" * 32)
    with pytest.raises(
        UnavailableError, match=r"^the download failed \(.*\), and dataset cifar10 is not in "
    ) as caught:
        check_available(SPEC, tmp_path / "data", download=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "cifar10" / "cifar-10-batches-bin").exists()


def test_download_fetches_pets(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"{breed}_{number}": label for label, breed in enumerate(("Bengal", "beagle"), 1) for number in range(6)}
    lines = {name: f"{name} {label} 1 1\n".encode() for name, label in names.items()}
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "PNG")
    images = {f"images/{name}.jpg": buffer.getvalue() for name in names}
    lists = {
        "annotations/trainval.txt": b"".join(lines[name] for name in names if name[-1] in "0123"),
        "annotations/test.txt": b"".join(lines[name] for name in names if name[-1] in "45"),
    }
    resources = (server.add("images.tar.gz", images), server.add("annotations.tar.gz", lists))
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", resources)
    spec = DatasetSpec(name="oxford-iiit-pet", image_size=14)
    check_available(spec, tmp_path / "data", download=True)
    assert len(load_dataset(spec, tmp_path / "data").splits["test"]) == 4


@pytest.mark.parametrize("name", ["digits", "folder:/a", "parquet:/a"])
def test_what_is_no_download_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a download: --download fetches cifar10 and oxford-iiit-pet"):
        check_available(dataset_spec(name), tmp_path, download=True)
