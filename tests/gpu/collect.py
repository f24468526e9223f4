"""Collects what the GPU script brings along to a bare machine: wheels for its Python, and CIFAR-10 as Parquet.

    make gpu-wheels                                      # CIFAR-10 from ../shared/data/cifar10, if it is there
    make gpu-wheels ARGS="--data /path/to/cifar10"       # a folder with train.parquet and test.parquet

Compressing the Parquet files again is what makes all of CIFAR-10 fit: its JPEG files share two thirds of their bytes.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.gpu.bring import WHEELS
from trainables.data.images import stratified_subset

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ".gpu/bring"
DATA = "cifar10"
PACKAGES = ("pydantic", "pydantic_core", "annotated-types", "typing-inspection", "typing_extensions", "PyYAML")
PACKAGES += ("pandas", "python-dateutil", "six")
"""What a machine with torch, torchvision, timm, numba, pyarrow and safetensors may still lack."""
PYTHON, PLATFORMS = "3.12", ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
LIMIT_BYTES = 40 * 2**20
"""For wheels and images together."""
TRAVEL_BYTES = 64 * 2**20
"""For all that travels, the repository included."""
COMPRESSION = {"compression": "zstd", "compression_level": 15, "use_dictionary": False, "data_page_size": 8 * 2**20}


def main(arguments: Sequence[str]) -> int:
    """Collects into the folder, and says what it holds."""
    parser = argparse.ArgumentParser(prog="make gpu-wheels", description="Collects what `make gpu` brings along.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data" / DATA, help="CIFAR-10 as Parquet")
    parser.add_argument("--folder", type=Path, default=ROOT / FOLDER)
    options = parser.parse_args(arguments)
    download_wheels(options.folder / WHEELS)
    left = LIMIT_BYTES - size_of(options.folder / WHEELS)
    if (options.data / "train.parquet").exists():
        kept = compress_images(options.data, options.folder / DATA, limit=left)
        sys.stdout.write(f"{kept} training images of {options.data}\n")
    else:
        sys.stdout.write(f"no images: {options.data} holds no train.parquet, so nothing will be trained; see --data\n")
    total = size_of(options.folder) + size_of_tree()
    sys.stdout.write(
        f"{options.folder}: {size_of(options.folder) / 2**20:.1f} MiB; with the repository {total / 2**20:.1f} MiB "
        f"of {TRAVEL_BYTES / 2**20:.0f}\n"
    )
    return int(total > TRAVEL_BYTES)


def download_wheels(folder: Path) -> None:
    """Downloads the wheels in the pinned versions, in place of those that are there."""
    for old in folder.glob("*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", PYTHON, "--dest", str(folder)]
    command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    subprocess.run([*command, *pinned(PACKAGES)], check=True)


def pinned(packages: Sequence[str]) -> list[str]:
    """Returns the packages with their versions in constraints.txt."""
    lines = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    versions = {_canonical(name): version for name, version in lines.items()}
    return [f"{name}=={versions[_canonical(name)]}" for name in packages]


def compress_images(source: Path, target: Path, *, limit: int) -> int:
    """Writes both parts of a dataset compressed, with as many training images as fit.

    Args:
        source: Folder with train.parquet and test.parquet.
        target: Folder to write them to.
        limit: Bytes that both together may have.

    Returns:
        The number of training images.
    """
    target.mkdir(parents=True, exist_ok=True)
    pq.write_table(pq.read_table(source / "test.parquet"), target / "test.parquet", **COMPRESSION)
    room = limit - (target / "test.parquet").stat().st_size
    images = pq.read_table(source / "train.parquet")
    labels_B = images["label"].to_numpy()
    count = len(images)
    while True:
        kept_B = stratified_subset(labels_B, count=count, least=2, seed=0)
        pq.write_table(images.take(pa.array(kept_B)), target / "train.parquet", **COMPRESSION)
        written = (target / "train.parquet").stat().st_size
        if written <= room:
            return count
        # A little less than in proportion, so that few rounds are needed.
        count = int(count * 0.98 * room / written)


def size_of(folder: Path) -> int:
    """Returns the bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def size_of_tree() -> int:
    """Returns the bytes of the files of the repository that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sum(path.stat().st_size for path in map(ROOT.joinpath, filter(None, names)) if path.is_file())


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
