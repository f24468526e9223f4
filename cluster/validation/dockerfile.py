"""Checks of a Dockerfile: the versions it holds, and that it installs this package."""

import re
from collections.abc import Iterator

from cluster.files.versions import Versions
from cluster.validation.findings import Finding, did_you_mean
from cluster.validation.software import check_command, check_image

INSTRUCTIONS = ("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "ONBUILD",
                "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")  # fmt: skip
_INSTALLS_US = re.compile(r"\bpip3? install\b[^&;|]*(\s\.(\s|$)|dptq.sweep)")


def check_dockerfile(text: str, versions: Versions) -> list[Finding]:
    """Returns what is wrong with a Dockerfile."""
    steps = list(_steps(text))
    findings = [finding for place, word, rest in steps for finding in _check_step(place, word, rest, versions)]
    if not any(word == "RUN" and _INSTALLS_US.search(rest) for _, word, rest in steps):
        findings.append(Finding("file", "no step installs dptq-sweep: add RUN pip install -c constraints.txt ."))
    return findings


def _steps(text: str) -> Iterator[tuple[str, str, str]]:
    """Yields place, instruction and arguments; lines that end in a backslash go on."""
    lines = [line for line in enumerate(text.splitlines(), start=1) if line[1].strip() and not line[1].startswith("#")]
    while lines:
        number, step = lines.pop(0)
        while step.endswith("\\") and lines:
            step = f"{step[:-1]} {lines.pop(0)[1].strip()}"
        word, _, rest = step.strip().partition(" ")
        yield f"line {number}", word.upper(), rest.strip()


def _check_step(place: str, word: str, rest: str, versions: Versions) -> Iterator[Finding]:
    if word not in INSTRUCTIONS:
        yield Finding(place, f"{word!r} is no instruction.{did_you_mean(word, INSTRUCTIONS)}")
    elif word == "FROM":
        yield from check_image(rest.split(" ")[0], versions, place=place)
    elif word == "RUN":
        yield from check_command(rest, versions, place=place)
