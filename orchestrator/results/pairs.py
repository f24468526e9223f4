"""Pairs: the records that `report --json` prints, and the verdict on each.

Accuracies are fractions. Names without a prefix are on the test split; `validation_*` and `objective` are
what the studies see, and the only thing a detrimental pair is ever chosen by (`orchestrator.search.pair_choice`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from orchestrator.plan import Origin
from orchestrator.results.claims import Claim, Evidence
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import Trial, read_trials
from orchestrator.search.pair_choice import choose
from orchestrator.store.states import State
from search_spaces.grids.cells import Cell
from search_spaces.names import Goal, Objective
from search_spaces.objective import (
    accuracies_of,
    detrimental_objective,
    is_catastrophic,
    measures,
    objective_value,
    parity_gap,
    parity_violation,
)
from search_spaces.paper import AVERAGE_BITS, NUM_SITES

Scalar = str | int | float | bool | None
Json = Scalar | list[int] | Mapping[str, Scalar]


class Verdict(StrEnum):
    """What became of a detrimental pair on the test split; `verdict` decides."""

    CATASTROPHIC = "catastrophic"
    PARITY_LOST_DROPS = "drops, parity lost"
    PARTIAL_DROP = "partial drop"
    NO_DROP = "no drop"
    PARITY_LOST = "parity lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class PairRecord:
    """One trained pair. Accuracies are fractions; differences are in fractions too."""

    uid: str
    name: str
    architecture: str
    option_set: str
    bit_widths: tuple[int, ...]
    budget: int
    """Bits over all sites of one image."""
    budget_level: str
    average_bits: float | None
    """Bits per site, nominal where the number of sites is not known; None for custom budgets."""
    goal: Goal
    seed: int
    trial_number: int
    origin: str
    """Where its recipe comes from; see `orchestrator.plan.Origin`."""
    point: Mapping[str, Scalar]
    """All that a search may move, by the names of `LossSpace`; empty where it is unknown."""
    point_from: str
    """Where its point comes from; see `orchestrator.results.trials.Trial`."""
    hinge_weight: float | None
    kd_weight: float | None
    margin: float | None
    accuracy_white_box: float
    accuracy_fp: float
    accuracy_q: float
    accuracy_delta: float
    """Quantized minus full precision: negative when the pair drops."""
    parity_gap: float
    """White box minus student, both at full precision: negative when the student gained."""
    catastrophic: bool
    validation_accuracy_white_box: float
    validation_accuracy_fp: float
    validation_accuracy_q: float
    validation_accuracy_delta: float
    validation_parity_gap: float
    validation_drop_standard_error: float
    """Of the drop, over the images of the split, each seen at both precisions."""
    objective: float | None
    """On the validation split; None for robust pairs, which no study scores."""
    seconds: float | None
    lag: float | None = None
    """As `objective`, of a study that maximizes the lag; None for a result that does not measure it."""
    white_box_seed: int | None = None
    """Of its white box where that is not the sweep's one; None where all pairs of a network share theirs."""
    hit_is_shown: bool = False
    """Whether its search goes on until a hit is shown on the validation split, and its hit is."""
    claim: Claim | None = None
    """How far the test images show what `catastrophic` says; None where nothing counted them."""

    @property
    def evidence(self) -> str:
        """What stands beside its verdict: `shown`, or what is within noise; nothing unless it is catastrophic."""
        return self.claim.text if self.claim and self.catastrophic else ""

    @property
    def is_shown(self) -> bool:
        """Whether it is catastrophic, and the test images exclude chance."""
        return self.catastrophic and self.claim is not None and self.claim.evidence is Evidence.SHOWN

    @property
    def is_hit(self) -> bool:
        """Whether it counts as found: catastrophic, and not within noise; results that count no images are believed."""
        return self.catastrophic and (self.claim is None or self.is_shown)

    @property
    def verdict(self) -> Verdict:
        """What became of the pair on the test split."""
        return verdict(
            accuracy_white_box=self.accuracy_white_box, accuracy_fp=self.accuracy_fp, accuracy_q=self.accuracy_q
        )

    @property
    def is_qualifying(self) -> bool:
        """Whether it is catastrophic on the validation split, which is what a search looks for."""
        return is_catastrophic(
            accuracy_white_box=self.validation_accuracy_white_box,
            accuracy_fp=self.validation_accuracy_fp,
            accuracy_q=self.validation_accuracy_q,
        )

    def scored(self, objective: Objective) -> float | None:
        """Returns what a study that maximizes this sees of it; None where its result does not measure it."""
        return self.lag if objective == "lag" else self.objective

    def as_json(self) -> dict[str, Json]:
        """Returns the fields as plain JSON types, in declaration order."""
        fields = asdict(self) | {"bit_widths": list(self.bit_widths), "goal": str(self.goal)}
        if self.lag is None:
            del fields["lag"]
        if not self.hit_is_shown:
            del fields["hit_is_shown"]
        return fields | {"evidence": self.evidence} | claim_facts(self.claim)


def claim_facts(claim: Claim | None) -> dict[str, str | int | float | None]:
    """Returns a claim as plain values, by the names that files and `--json` use; None where nothing counted images."""
    if claim is None:
        return dict.fromkeys(CLAIM_FACTS)
    gap, drop = claim.parity_gap, claim.drop
    values = (str(claim.evidence), str(claim.parity), str(claim.fall), gap.low, gap.high, drop.low, drop.high)
    return dict(zip(CLAIM_FACTS, (*values, claim.num_images, claim.images_needed), strict=True))


CLAIM_FACTS = (
    *("claim", "claim_parity", "claim_drop"),
    *("parity_gap_low", "parity_gap_high", "drop_low", "drop_high", "num_images", "images_needed"),
)
"""What the test images say of a pair: each end of an interval is a one-sided bound at the level of the claims."""


def pair_records(snapshot: Snapshot) -> list[PairRecord]:
    """Returns a record for every pair that is done, in plan order."""
    return records_of(read_trials(snapshot))


def representative(records: Sequence[PairRecord]) -> PairRecord | None:
    """Picks the pair that stands for a cell: of its hits on validation, or of all its pairs where there is none.

    As confirmations choose what they repeat, so that every table speaks of the same pair.
    """
    return choose([record for record in records if record.is_qualifying] or records)


def representatives(records: Sequence[PairRecord]) -> list[PairRecord]:
    """Returns the pair that stands for each cell, in the order of the records."""
    cells: dict[tuple[object, ...], list[PairRecord]] = {}
    for record in records:
        key = (record.architecture, record.option_set, record.budget, record.goal, record.seed)
        cells.setdefault(key, []).append(record)
    return [pair for of_cell in cells.values() if (pair := representative(of_cell))]


def records_of(trials: Sequence[Trial]) -> list[PairRecord]:
    """Returns the records of the pairs among these trials that are done, without the confirmations of any."""
    done = (trial for trial in trials if trial.state is State.DONE and trial.node.origin is not Origin.CONFIRMED)
    return [record_of(trial, trial.node.cell) for trial in done if trial.node.cell]


def verdict(*, accuracy_white_box: float, accuracy_fp: float, accuracy_q: float) -> Verdict:
    """Says what became of a pair: is parity kept (gap of at most 1 pp), and how far does it fall?

    `catastrophic`: parity kept and a drop of 10 pp or more. `partial drop`: parity kept, 1 to 10 pp.
    `no drop`: parity kept, at most 1 pp. `drops, parity lost`: 10 pp or more, but the full-precision student
    already gives itself away. `parity lost`: neither.

    Examples:
        >>> str(verdict(accuracy_white_box=0.88, accuracy_fp=0.81, accuracy_q=0.03))
        'drops, parity lost'
    """
    falls = is_catastrophic(accuracy_white_box=accuracy_fp, accuracy_fp=accuracy_fp, accuracy_q=accuracy_q)
    gap = parity_gap(accuracy_white_box=accuracy_white_box, accuracy_fp=accuracy_fp)
    if parity_violation(gap) > 0:
        return Verdict.PARITY_LOST_DROPS if falls else Verdict.PARITY_LOST
    if falls:
        return Verdict.CATASTROPHIC
    return Verdict.NO_DROP if parity_violation(accuracy_fp - accuracy_q) <= 0 else Verdict.PARTIAL_DROP


def average_bits(cell: Cell) -> float | None:
    """Returns the bits per site of a cell, nominal where its sites are not known; None for custom budgets."""
    if cell.num_sites:
        return cell.recipe.budget / cell.num_sites
    if cell.architecture in NUM_SITES:
        return cell.recipe.budget / NUM_SITES[cell.architecture]
    return AVERAGE_BITS.get(cell.budget_level)


def record_of(trial: Trial, cell: Cell) -> PairRecord:
    """Returns the record of a pair that is done."""
    test, validation = accuracies_of(trial.metrics, "test"), accuracies_of(trial.metrics, "validation")
    point = trial.point or {}
    return PairRecord(
        uid=trial.node.uid,
        name=trial.node.name,
        architecture=cell.architecture,
        option_set=cell.option_set,
        bit_widths=cell.recipe.bit_widths,
        budget=cell.recipe.budget,
        budget_level=cell.budget_level,
        average_bits=average_bits(cell),
        goal=cell.goal,
        seed=trial.node.seed,
        trial_number=trial.node.trial_number,
        origin=str(trial.node.origin),
        point=point,
        point_from=trial.point_from,
        hinge_weight=point.get("hinge_weight"),
        kd_weight=point.get("kd_weight"),
        margin=point.get("margin"),
        **test,
        accuracy_delta=test["accuracy_q"] - test["accuracy_fp"],
        parity_gap=_gap(test),
        catastrophic=is_catastrophic(**test),
        **{f"validation_{name}": accuracy for name, accuracy in validation.items()},
        validation_accuracy_delta=validation["accuracy_q"] - validation["accuracy_fp"],
        validation_parity_gap=_gap(validation),
        validation_drop_standard_error=trial.metrics["validation/drop_standard_error"],
        objective=detrimental_objective(**validation) if cell.goal is Goal.DETRIMENTAL else None,
        seconds=trial.seconds,
        lag=objective_value("lag", trial.metrics) if measures("lag", trial.metrics) else None,
        white_box_seed=cell.white_box_seed,
        hit_is_shown=trial.hit_is_shown,
        claim=trial.claim,
    )


def _gap(split: dict[str, float]) -> float:
    return parity_gap(accuracy_white_box=split["accuracy_white_box"], accuracy_fp=split["accuracy_fp"])
