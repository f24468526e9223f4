"""When a trial of a search ends before its last epoch.

The rules are functions of curves, which studies keep: so they hold for any sampler, those with two objectives too,
for which Optuna's pruners have no rule.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.store.trial import TrialFolder
from search_spaces.errors import StorageError
from search_spaces.names import Objective
from search_spaces.objective import accuracies_of, is_catastrophic, lost, measures, objective_value
from search_spaces.search import HALVING, hurdles, rung

MIN_HITS = 3
"""Hits of the network that must be known before a trial is measured by them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a trial stands after an epoch, on validation."""

    objective: float
    loss: float
    """What it lost at full precision: the parity gap, or the divergence beside the lag."""


Curve = Mapping[int, Mark]
"""Marks by epoch."""


class Curves:
    """The curves of a study's trials, by uid, and which of them became hits."""

    def __init__(self) -> None:
        """Knows none."""
        self._curves: dict[str, dict[int, Mark]] = {}
        self._hits: set[str] = set()

    @property
    def all(self) -> list[Curve]:
        """Of every trial, also of those that run or were ended."""
        return list(self._curves.values())

    @property
    def hits(self) -> list[Curve]:
        """Of the trials that became hits."""
        return [curve for uid, curve in self._curves.items() if uid in self._hits]

    def add(self, uid: str, objective: Objective, row: Mapping[str, Any]) -> Curve:
        """Takes in an epoch; returns the trial's curve."""
        curve = self._curves.setdefault(uid, {})
        curve[int(row["epoch"])] = Mark(objective_value(objective, row), lost(objective, row))
        return curve

    def read(self, uid: str, objective: Objective, folder: TrialFolder) -> None:
        """Takes in what the store has of a trial; of a damaged table, nothing: that costs a curve and no launch."""
        with suppress(StorageError):
            for row in folder.epochs():
                if measures(objective, row):
                    self.add(uid, objective, row)
            if result := folder.result():
                self.note_hit(uid, result.metrics)

    def note_hit(self, uid: str, metrics: Mapping[str, float]) -> None:
        """Notes whether a trial with these metrics became a hit."""
        if is_catastrophic(**accuracies_of(metrics, "validation")):
            self._hits.add(uid)


def is_in_worse_half(curve: Curve, of_cell: Iterable[Curve], epochs: int) -> bool:
    """Tells at half of the epochs whether a trial is behind the better half of its cell's, itself among them.

    The semantics are those of Optuna's `SuccessiveHalvingPruner` with a single rung and a reduction factor of 2: the
    best one always goes on.

    Args:
        curve: Of the trial, up to now.
        of_cell: The curves of all trials of its cell, also of those that run or were ended; its own may be among them.
        epochs: Epochs that the trial is to run.
    """
    at = rung(epochs)
    if at not in curve or max(curve) != at:
        return False
    others = [other[at].objective for other in of_cell if at in other and other is not curve]
    values = sorted([curve[at].objective, *(value for value in others if value == value)])
    return not curve[at].objective >= values[-max(1, len(values) // HALVING)]


def is_behind_hits(curve: Curve, hits: Collection[Curve], epochs: int) -> bool:
    """Tells at a hurdle whether a trial is behind every hit at the same share of its epochs.

    Behind is who has a lower objective than any hit had then, or has lost more at full precision than any. Nobody is
    while fewer than `MIN_HITS` are known.

    Args:
        curve: Of the trial, up to now.
        hits: The curves of trials of the same network that became hits, whose epochs are as many.
        epochs: Epochs that the trial is to run.
    """
    at = max(curve, default=0)
    if at not in hurdles(epochs):
        return False
    marks = [hit[at] for hit in hits if at in hit]
    if len(marks) < MIN_HITS:
        return False
    mark = curve[at]
    return not (mark.objective >= min(hit.objective for hit in marks) and mark.loss <= max(hit.loss for hit in marks))
