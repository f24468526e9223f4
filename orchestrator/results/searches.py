"""What the store says of searches beyond the results of their trials: epochs, device-seconds, and when trials ended."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

from orchestrator.results.pairs import PairRecord, record_of
from orchestrator.results.trials import Trial, read_rows
from orchestrator.store.states import State
from orchestrator.store.trial import point_from
from orchestrator.store.usage import HOUR, paid_hours
from search_spaces.errors import StorageError
from search_spaces.grids.cells import Cell
from search_spaces.names import OBJECTIVES, QUASI_RANDOM, SAMPLERS, Objective
from search_spaces.objective import ACCURACIES, measures, objective_value
from search_spaces.recipes import PairRecipe, TrainingRecipe

_COLUMNS = {"epoch", "seconds", "timestamp_ms", *(f"validation/{name}" for name in ACCURACIES)}


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchTrial:
    """One trial of a searched cell."""

    trial: Trial
    record: PairRecord | None
    """None unless it is done."""
    rows: tuple[Mapping[str, Any], ...]
    """Of epochs.parquet, one per epoch, in order."""

    @property
    def number(self) -> int:
        """In the cell."""
        return self.trial.node.trial_number

    @property
    def num_epochs(self) -> int:
        """Epochs that it was to run."""
        assert isinstance(self.trial.node.recipe, TrainingRecipe)
        return self.trial.node.recipe.epochs

    @property
    def num_epochs_run(self) -> int:
        """Epochs that it ran, also where it failed, was pruned or stopped on a hit."""
        return len(self.rows)

    @property
    def stopped_on_hit(self) -> bool:
        """Whether its training ended before its last epoch, at a hit."""
        recipe = self.trial.node.recipe
        stops = isinstance(recipe, PairRecipe) and recipe.stop_on_hit is not None
        return stops and self.record is not None and 0 < self.num_epochs_run < self.num_epochs

    @property
    def is_drawn(self) -> bool:
        """Whether a sampler chose its point, or the sequence before it, and it ran to its end."""
        node = self.trial.node
        if not (self.record and node.is_searched):
            return False
        with suppress(StorageError):
            return point_from(node, self.trial.folder.recipe()) in (QUASI_RANDOM, *SAMPLERS)
        return False

    @property
    def device_seconds(self) -> float:
        """What it took of its device: of a shared GPU its share, without a GPU those of a core."""
        return sum(self._epoch_seconds) if self.rows else self.trial.seconds or 0.0

    @property
    def saved_device_seconds(self) -> float:
        """What ending it early saved: the epochs it did not run, at the median time of those it did."""
        if self.trial.state is not State.PRUNED or not self.rows:
            return 0.0
        # The median, because a worker's first epoch compiles kernels and takes several times as long.
        return (self.num_epochs - len(self.rows)) * median(self._epoch_seconds)

    @property
    def ended_ms(self) -> int:
        """When its last epoch ended, in milliseconds since 1970; 0 where it is unknown."""
        return int(self.rows[-1]["timestamp_ms"]) if self.rows else self.trial.finished_ms

    @property
    def is_qualifying(self) -> bool:
        """Whether it is catastrophic on the validation split, which is what a search looks for."""
        return self.record is not None and self.record.is_qualifying

    def scored_at(self, epoch: int, objective: Objective) -> float | None:
        """Returns the objective on validation after an epoch; None for an epoch it did not run or did not measure."""
        row = next((row for row in self.rows if row["epoch"] == epoch), None)
        return None if row is None or not measures(objective, row) else objective_value(objective, row)

    @property
    def _epoch_seconds(self) -> list[float]:
        return [HOUR * paid_hours([row]) for row in self.rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchedCell:
    """A searched cell with its trials."""

    cell: Cell
    title: str
    """Names it for people; the seed is left out where all cells have the same."""
    trials: tuple[SearchTrial, ...]
    """Of the search, in plan order; not those that it skips."""
    confirmations: tuple[SearchTrial, ...]
    """What repeats its hit on further seeds; not those that are skipped."""
    num_skipped: int
    """Trials that the cell left to others, or did not get."""

    @property
    def ended(self) -> list[SearchTrial]:
        """Trials that ended and have a result or an epoch at least, in the order in which they ended."""
        ran = [each for each in self.trials if each.record or (each.trial.state.is_final and each.rows)]
        return sorted(ran, key=lambda each: (each.ended_ms, each.number))

    @property
    def records(self) -> list[PairRecord]:
        """The pairs that are done."""
        return [each.record for each in self.trials if each.record]

    @property
    def num_to_come(self) -> int:
        """Trials that the search still waits for."""
        return sum(each.trial.state.is_open for each in self.trials)


def read_searches(trials: Sequence[Trial]) -> tuple[SearchedCell, ...]:
    """Reads all searched cells, in plan order, with the epochs of their trials."""
    by_cell: dict[str, list[Trial]] = {}
    cells: dict[str, Cell] = {}
    for trial in trials:
        cell = trial.node.cell
        if cell and cell.search_trials:
            by_cell.setdefault(cell.cell_id, []).append(trial)
            cells[cell.cell_id] = cell
    has_seeds = len({cell.seed for cell in cells.values()}) > 1
    return tuple(_searched_cell(cells[cell_id], of_cell, has_seeds=has_seeds) for cell_id, of_cell in by_cell.items())


def objective_of(cells: Sequence[SearchedCell], wanted: Objective) -> Objective:
    """Returns what a report calls the objective of these searches: the drop where a result does not measure another."""
    records = [record for cell in cells for record in cell.records]
    return wanted if all(record.scored(wanted) is not None for record in records) else OBJECTIVES[0]


def _searched_cell(cell: Cell, trials: Iterable[Trial], *, has_seeds: bool) -> SearchedCell:
    seed = f", seed {cell.seed}" if has_seeds else ""
    needed = [trial for trial in trials if trial.state is not State.SKIPPED]
    skipped = [trial for trial in trials if trial.state is State.SKIPPED and not trial.is_confirmation]
    return SearchedCell(
        cell=cell,
        title=f"{cell.architecture} {cell.option_set}-{cell.budget_level}, {cell.recipe.budget} bits{seed}",
        trials=tuple(_search_trial(trial, cell) for trial in needed if not trial.is_confirmation),
        confirmations=tuple(_search_trial(trial, cell) for trial in needed if trial.is_confirmation),
        num_skipped=len(skipped),
    )


def _search_trial(trial: Trial, cell: Cell) -> SearchTrial:
    record = record_of(trial, cell) if trial.state is State.DONE else None
    return SearchTrial(trial=trial, record=record, rows=read_rows(trial, _COLUMNS))
