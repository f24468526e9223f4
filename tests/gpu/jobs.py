"""What passes between the script and the processes that it starts: sections, their items, and their surroundings."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.gpu.record import Record

TOTAL_SECONDS = 540.0
"""The whole call, whatever happens: a rented machine ends a command after ten minutes."""

BROKEN = 3
"""Exit status of a process whose GPU context is lost: a fresh process goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the script that runs in a process of its own."""

    name: str
    module: str
    """Its function `items` lists what to run."""
    seconds: float
    """Limit of all its items together."""
    is_measured: bool = True
    """Whether its results hold for one device only, so that another one measures them again."""
    is_repeated: bool = False
    """Whether every call does it again, because it is made of what others found."""
    is_interpreted: bool = False
    """Whether Triton's kernels run in its interpreter where the tiny form finds no GPU."""


SECTIONS = (
    Section(name="correctness", module="tests.gpu.sections.correctness", seconds=90, is_interpreted=True),
    Section(name="step", module="tests.gpu.sections.step", seconds=190),
    Section(name="packing", module="tests.gpu.sections.packing", seconds=80),
    Section(name="science", module="tests.gpu.sections.science", seconds=TOTAL_SECONDS, is_measured=False),
    Section(name="figures", module="tests.gpu.sections.figures", seconds=30, is_measured=False, is_repeated=True),
)
"""The most important results first; science takes what time is left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What a child process is told."""

    section: Section
    call: str
    deadline: float
    """When the process is ended, in seconds since the epoch."""
    brought: str
    work: str
    folder: str
    is_tiny: bool

    def to_json(self) -> str:
        """Writes it as an argument."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Job":
        """Reads what `to_json` wrote."""
        values = json.loads(text)
        section = values.pop("section")
        return Job(section=Section(**section), **values)


class NotHereError(Exception):
    """This item cannot run here; the text says why."""


class UnfinishedError(Exception):
    """The time is over, and a later call can go on; `result` is what there is so far."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__("the time was over; a second call goes on")
        self.result = result


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Where an item runs."""

    device: Any
    """A torch.device; this module does without torch."""
    is_tiny: bool
    deadline: float
    """When this item must be over, in seconds since the epoch."""
    brought: Path
    work: Path
    folder: Path
    record: Record

    @property
    def seconds_left(self) -> float:
        """Time until the deadline."""
        return self.deadline - time.time()

    @property
    def is_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return bool(self.device.type == "cuda")

    def require_cuda(self, what: str) -> None:
        """Raises `NotHereError` unless the device is a GPU."""
        if not self.is_cuda:
            raise NotHereError(f"{what} needs a GPU")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to find out."""

    name: str
    run: Callable[[Context], dict[str, Any]]
    seconds: float = 45.0
    """Limit; past it the process is killed and the section goes on with the next item."""
