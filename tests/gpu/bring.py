"""What the script needs beyond a bare machine: unpacks the wheels that travelled with it where something is missing."""

import importlib.util
import sys
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

WHEELS, PREVIOUS = "wheels", "previous"
"""Folders that may travel along: packages, and the results of an earlier call on another machine."""


@dataclass(frozen=True, slots=True)
class Need:
    """A package that the code imports."""

    package: str
    module: str
    at_least: tuple[int, ...] = ()


NEEDS = (
    Need("torch", "torch", (2, 10)),
    Need("torchvision", "torchvision"),
    Need("timm", "timm", (1, 0, 20)),
    Need("numpy", "numpy", (2,)),
    Need("numba", "numba", (0, 62)),
    Need("pyarrow", "pyarrow", (20,)),
    Need("safetensors", "safetensors"),
    Need("pillow", "PIL"),
    Need("pandas", "pandas", (2, 2)),
    Need("pydantic", "pydantic", (2, 12)),
    Need("pyyaml", "yaml"),
)


def find_missing() -> list[str]:
    """Names the needed packages that are absent or too old; imports none of them."""
    return [need.package for need in NEEDS if not _is_there(need)]


def unpack_wheels(folder: Path, target: Path) -> list[str]:
    """Unpacks every wheel of a folder, without pip: it takes a tenth of a second and needs no network.

    Args:
        folder: Holds *.whl for this Python.
        target: Folder to put on the path.

    Returns:
        The names of the wheels.
    """
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    return [wheel.name for wheel in wheels]


def prepare(brought: Path, target: Path) -> str:
    """Makes everything importable in this process, and says what it did.

    Raises:
        SystemExit: Something is still missing; says what to do.
    """
    missing = find_missing()
    if not missing:
        return "everything was there"
    unpacked = unpack_wheels(brought / WHEELS, target)
    sys.path.insert(0, str(target))
    importlib.invalidate_caches()
    if still := find_missing():
        raise SystemExit(
            f"not importable on Python {sys.version_info.major}.{sys.version_info.minor}: {', '.join(still)}. "
            f"Run `make gpu-wheels` where there is a network, and bring {brought} along."
        )
    return f"{', '.join(missing)} from {len(unpacked)} wheels"


def _is_there(need: Need) -> bool:
    if importlib.util.find_spec(need.module) is None:
        return False
    try:
        return _numbers(version(need.package)) >= need.at_least
    except PackageNotFoundError:
        return True


def _numbers(text: str) -> tuple[int, ...]:
    """Returns the leading numbers of a version.

    Examples:
        >>> _numbers("2.11.0+cu130"), _numbers("1.0.20.dev0")
        ((2, 11, 0), (1, 0, 20))
    """
    numbers = []
    for part in text.partition("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
