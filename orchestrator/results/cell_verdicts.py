"""The one verdict on a cell: the word for the pair that stands for it, on how many seeds, and with which evidence."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from orchestrator.results.pairs import PairRecord, Verdict, record_of, records_of, representative
from orchestrator.results.trials import Trial, trials_by_cell
from orchestrator.store.states import State
from search_spaces.names import Goal


@dataclass(frozen=True, kw_only=True, slots=True)
class CellVerdict:
    """The verdict on the pair that stands for a detrimental cell, on the test split, and what it rests on."""

    cell_id: str
    uid: str
    """Of the pair."""
    word: Verdict
    num_seeds: int
    """Seeds on which the pair is trained by now."""
    num_catastrophic: int
    """Seeds on which it is catastrophic."""
    evidence: str
    """As of the pair; of several seeds on how many the images show it."""
    is_hit: bool
    """Whether the pair counts as found; see `PairRecord.is_hit`."""

    @property
    def seeds(self) -> str:
        """On how many seeds, e.g. `1 seed` or `2 of 3 seeds`; nothing of one seed that is not catastrophic."""
        if self.num_seeds == 1:
            return "1 seed" if self.num_catastrophic else ""
        of_seeds = f"{self.num_catastrophic} of {self.num_seeds} seeds"
        return of_seeds if self.word is Verdict.CATASTROPHIC else f"catastrophic on {of_seeds}"

    @property
    def text(self) -> str:
        """What every table and `--json` say, e.g. `catastrophic (3 of 3 seeds)`."""
        return f"{self.word} ({self.seeds})" if self.seeds else str(self.word)

    def as_json(self) -> dict[str, str | int | bool]:
        """Returns everything as plain values."""
        return {**asdict(self), "word": str(self.word), "verdict": self.text}


def verdict_on(cell_id: str, pairs: Sequence[PairRecord]) -> CellVerdict:
    """Gives the verdict on a cell.

    Args:
        cell_id: Of the cell.
        pairs: The one that stands for it, then those that repeat it on further seeds.
    """
    pair, num_shown = pairs[0], sum(each.is_shown for each in pairs)
    return CellVerdict(
        cell_id=cell_id,
        uid=pair.uid,
        word=pair.verdict,
        num_seeds=len(pairs),
        num_catastrophic=sum(each.catastrophic for each in pairs),
        evidence=f"shown on {num_shown}" if len(pairs) > 1 and num_shown else pair.evidence,
        is_hit=pair.is_hit,
    )


def cell_verdicts(trials: Sequence[Trial]) -> tuple[CellVerdict, ...]:
    """Gives the verdict on every detrimental cell that has a pair, in plan order."""
    confirmations: dict[str, list[PairRecord]] = {}
    for trial in trials:
        if trial.is_confirmation and trial.state is State.DONE and trial.node.cell:
            confirmations.setdefault(trial.node.cell.cell_id, []).append(record_of(trial, trial.node.cell))
    verdicts = []
    for cell_id, of_cell in trials_by_cell(trials).items():
        pair = representative(records_of(of_cell))
        if pair and pair.goal is Goal.DETRIMENTAL:
            # Confirmations repeat a hit on validation, and nothing else.
            repeated = confirmations.get(cell_id, []) if pair.is_qualifying else []
            verdicts.append(verdict_on(cell_id, [pair, *repeated]))
    return tuple(verdicts)
