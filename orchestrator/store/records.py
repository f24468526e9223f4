"""What a trial's folder says in JSON, as values with types: recipe.json, which comes first, and result.json, the end.

Keys that a later version adds get a default here that says what their absence meant; unknown ones are left out. The
order of the fields is that of the keys in the files.
"""

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.plan import SCHEMA
from search_spaces.errors import StorageError
from search_spaces.model import parse
from search_spaces.recipes import NEIGHBOUR
from search_spaces.stages.registry import STAGES, Stage


class Record(BaseModel):
    """Base of all records: immutable, and read from any version's file of the same schema."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def as_json(self, schema: int = SCHEMA) -> dict[str, Any]:
        """Returns the content of the file."""
        return {"schema": schema} | dict(self)


RecordT = TypeVar("RecordT", bound=Record)


class TrialRecord(Record):
    """What a trial runs; written before it does."""

    uid: str
    stage: str
    name: str
    recipe: dict[str, Any]
    """As plain values, with the point that its study chose; what `trainables.stage_runner.TrialSpec` takes."""
    dataset: dict[str, Any]
    """The fields of a `DatasetSpec`, as plain values."""
    seed: int
    parents: tuple[str, ...]
    cell_id: str | None
    trial_number: int
    origin: str = "recipe"
    point_from: str | None = None
    """A sampler, the cell that the point was borrowed of, or the plan's origin; None where it was not written down."""
    num_threads: int = 1
    """Of torch, where it trains on a CPU."""

    @property
    def architecture(self) -> str:
        """The network that it trains."""
        return str(self.recipe["architecture"])

    @property
    def start_uid(self) -> str | None:
        """The pair that a pair's student starts from; None for the white box, and where the search was to name it."""
        start = self.recipe.get("start_from")
        return None if start == NEIGHBOUR else start

    @property
    def epochs(self) -> int:
        """What it is to run: passes over the training split, or whatever its stage reports after."""
        if "epochs" in self.recipe:
            return int(self.recipe["epochs"])
        return parse(STAGES[Stage(self.stage)].recipe, self.recipe).epochs

    @property
    def seeds(self) -> dict[str, int]:
        """Every seed that draws anything, by what it is of."""
        return {"trial": self.seed, "split": self.dataset["split_seed"]}


class TrialResult(Record):
    """What came of a trial or an analysis that is done."""

    uid: str
    stage: str = ""
    metrics: dict[str, int | float]
    files: dict[str, str]
    """Checksums of the files that belong to the result, by name."""
    recorded: dict[str, str] = {}
    """Checksums of what was written before: recipe, environment, epochs; versions before leases kept none."""
    attempt: str = ""
    """Token of the attempt that finished the trial; empty where nobody took its lease."""
    seconds: float
    data_sha256: str = ""
    finished_at: str = ""
    """In ISO format, UTC."""
    code: tuple[str, ...] = ()
    """Versions of the code that its epochs ran with, the first one first; earlier versions did not say."""
    versions: dict[str, str] = {}
    """Of the packages that it ran with."""

    @property
    def finished_ms(self) -> int:
        """When it was done, in milliseconds since 1970; 0 where it does not say."""
        return int(1000 * datetime.datetime.fromisoformat(self.finished_at).timestamp()) if self.finished_at else 0


class AnalysisRecord(Record):
    """What an analysis is to compute; written before it does."""

    uid: str
    name: str
    """Within its sweep."""
    analysis: str
    settings: dict[str, Any]
    subjects: tuple[str, ...]
    """Uids of its pairs."""


def read_record(kind: type[RecordT], content: Mapping[str, Any], damage: str) -> RecordT:
    """Reads the content of a file as a record.

    Raises:
        StorageError: A key is missing, or has a value of another type; says `damage`.
    """
    try:
        return kind.model_validate(content)
    except ValidationError:
        raise StorageError(damage) from None
