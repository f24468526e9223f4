"""What files of all kinds say alike: versions, who may connect, and where trials are kept."""

import re
from collections.abc import Iterable, Iterator, Mapping

from cluster.files.versions import Versions
from cluster.validation.findings import Finding

_RAY_PIN = re.compile(r"\bray(?:\[[\w,]+\])?\s*(==|>=|<=|~=|@)?\s*([\w./:-]*)", re.IGNORECASE)
_RAY_IMAGE = re.compile(r"(?:^|/)ray(?:-ml)?:([\w.]+)(-py\d+)?")
_PYTHON = re.compile(r"\bpython=*(\d\.\d+)\b")
_RAY_WHEEL = re.compile(r"(?:.*/)?ray-([\w.]+)-cp\d+-.*")
_OUR_WHEEL = re.compile(r"(?:.*/)?dptq_sweep-([\w.]+)-py3-.*")
_EXPORT = re.compile(r"\bexport\s+(\w+)=['\"]?(\S*?)['\"]?(?=\s|$)")


def exported(commands: Iterable[str]) -> dict[str, str]:
    """Returns the variables that shell commands export, also by `echo 'export ...' >> ~/.bashrc`.

    Examples:
        >>> exported(["echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc", "export A=1"])
        {'RAY_AUTH_MODE': 'token', 'A': '1'}
    """
    return {name: value for command in commands for name, value in _EXPORT.findall(command)}


def check_command(command: str, versions: Versions, *, place: str) -> Iterator[Finding]:
    """Yields a finding where a shell command installs another Ray or makes another Python than is installed here."""
    for words in re.findall(r"\bpip3?\s+install\s+([^;&|]*)", command):
        for word in re.findall(r"'[^']*'|\"[^\"]*\"|\S+", words):  # a quoted `ray @ URL` is one
            yield from _check_requirement(word.strip("'\""), versions, place=place)
    for minor in _PYTHON.findall(command):
        if minor != versions.python:
            yield Finding(place, f"Python {minor} is not {versions.python}, as here, and Ray refuses to mix them.")


def _check_requirement(requirement: str, versions: Versions, *, place: str) -> Iterator[Finding]:
    pin, wheel = _RAY_PIN.fullmatch(requirement), _RAY_WHEEL.fullmatch(requirement)
    if (pin and (pin[1], pin[2]) != ("==", versions.ray)) or (wheel and wheel[1] != versions.ray):
        yield Finding(
            place,
            f"{requirement!r} does not pin Ray {versions.ray}, which is installed here, and machines of one cluster "
            f"must agree: install {versions.ray_requirement}.",
        )
    ours = _OUR_WHEEL.fullmatch(requirement)
    if ours and ours[1] != versions.package:
        yield Finding(
            place,
            f"{requirement!r} is not dptq-sweep {versions.package}, as here, and trials of two versions do not mix: "
            "build the wheel again.",
        )


def check_image(image: str, versions: Versions, *, place: str) -> Iterator[Finding]:
    """Yields a finding where an image of Ray's holds another Ray or Python than is installed here."""
    if not (match := _RAY_IMAGE.search(image)):
        return
    if match[1] != versions.ray:
        yield Finding(
            place,
            f"{image!r} holds Ray {match[1]}, here is {versions.ray}, and machines of one cluster must agree: use "
            f"{versions.ray_image}.",
        )
    elif match[2] != (tag := f"-py{versions.python.replace('.', '')}"):
        yield Finding(
            place,
            f"{image!r} is not for Python {versions.python}, as here, and Ray refuses to mix them: end it in {tag}.",
        )


def check_environment(environment: Mapping[str, str], *, is_shared_path: bool, place: str) -> Iterator[Finding]:
    """Yields a finding unless the exported variables say who may connect, and where all machines see the trials."""
    mode = environment.get("RAY_AUTH_MODE")
    if mode not in ("token", "disabled"):
        yield Finding(
            place,
            f"RAY_AUTH_MODE is {mode!r}, and what Ray does then differs from version to version: "
            "export RAY_AUTH_MODE=token (or disabled, where the machines are reachable by you alone).",
        )
    yield from check_storage(environment, is_shared_path=is_shared_path, place=place)


def check_storage(environment: Mapping[str, str | None], *, is_shared_path: bool, place: str) -> Iterator[Finding]:
    """Yields a finding where trials would be kept on a disk that the other machines do not see.

    An absolute path is taken where it may be that of a file system which all machines share, and launches are told so.
    """
    storage = environment.get("DPTQ_STORAGE")
    if storage is None:
        yield Finding(
            place, "DPTQ_STORAGE is not set, and trials would be kept on one machine's disk: export it, as s3://..."
        )
    elif "://" not in storage and not (is_shared_path and storage.startswith(("/", "$", "~"))):
        hint = "an absolute path that all share, or s3://..." if is_shared_path else "s3://..., gs://... or abfss://..."
        yield Finding(
            place, f"storage {storage!r} is a path, which every machine has to itself: name {hint.removeprefix('a ')}"
        )
    elif "://" not in storage and "DPTQ_SHARED_STORAGE" not in environment:
        yield Finding(
            place,
            f"storage {storage!r} is a path, which launches refuse on several machines unless they are told that all "
            "mount it: export DPTQ_SHARED_STORAGE=1.",
        )
