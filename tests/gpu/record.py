"""What was found so far: a file per item, written atomically as it comes, read by whoever goes on."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

DONE, FAILED, RUNNING, UNFINISHED, SKIPPED, STOPPED = "done", "failed", "running", "unfinished", "skipped", "stopped"
"""States of an item. `stopped`: it crashed its process or ran past its limit."""
RESULTS = "results.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one item of a section."""

    section: str
    item: str
    status: str
    call: str
    """The call of the script that it belongs to."""
    seconds: float = 0.0
    started: float = 0.0
    """Time of the start, in seconds since the epoch."""
    limit: float = 0.0
    """Seconds that it may take."""
    device: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    """One line; for a skipped item, the reason."""

    @property
    def key(self) -> str:
        """Section and item."""
        return f"{self.section}/{self.item}"


class Record:
    """The outcomes in a folder."""

    def __init__(self, work: Path) -> None:
        """Makes the folder where it is missing."""
        self.work = work
        self._items = work / "items"
        self._items.mkdir(parents=True, exist_ok=True)

    def write(self, outcome: Outcome) -> None:
        """Keeps an outcome; replaces an earlier one of the same item."""
        write_atomically(self._items / f"{slug(outcome.key)}.json", json.dumps(asdict(outcome), indent=1).encode())

    def __iter__(self) -> Iterator[Outcome]:
        """Yields all outcomes, in the order of their start."""
        return iter(sorted(map(_read, self._items.glob("*.json")), key=lambda outcome: outcome.started))

    def find(self, section: str, item: str) -> Outcome | None:
        """Returns the outcome of an item, None if there is none."""
        path = self._items / f"{slug(f'{section}/{item}')}.json"
        return _read(path) if path.exists() else None

    def publish(self, folder: Path) -> None:
        """Writes all outcomes into one file of a folder."""
        content = json.dumps({"outcomes": [asdict(outcome) for outcome in self]}, indent=1)
        write_atomically(folder / RESULTS, content.encode())

    def take_over(self, folder: Path) -> int:
        """Adds the outcomes that `publish` wrote into a folder, where none is here yet; returns their number."""
        if not (folder / RESULTS).exists():
            return 0
        known = {outcome.key for outcome in self}
        found = [_outcome(values) for values in json.loads((folder / RESULTS).read_text())["outcomes"]]
        new = [outcome for outcome in found if outcome.key not in known]
        for outcome in new:
            self.write(outcome)
        return len(new)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def slug(name: str) -> str:
    """Returns a name that every file system takes.

    Examples:
        >>> slug("step/resnet18, tf32")
        'step.resnet18-tf32'
    """
    return re.sub(r"[^\w.]+", "-", name.replace("/", ".", 1)).strip("-")


def _read(path: Path) -> Outcome:
    return _outcome(json.loads(path.read_text()))


def _outcome(values: dict[str, Any]) -> Outcome:
    known = {each.name for each in fields(Outcome)}
    return Outcome(**{name: value for name, value in values.items() if name in known})
