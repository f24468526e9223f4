"""The one rule by which a pair is shown to be catastrophic, from the images that change sides.

A pair is catastrophic if its parity gap is at most 1 pp and its drop at least 10 pp (`search_spaces.objective`).
Measured accuracies say so of the images at hand. Of all images it is shown only if chance can be excluded in both
conditions: by a paired one-sided test each, "the gap is not above 1 pp" (an equivalence test's only side that matters:
a student that is better than its white box keeps parity) and "the drop is not below 10 pp". Both must pass, so that the
level of each is that of the claim (Berger, Technometrics 24:295-300, 1982).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from search_spaces.objective import CATASTROPHIC_DROP, PARITY_TOLERANCE, Claims
from trainables.assessment.paired import drop_interval, images_needed

COUNTS = ("num_images", "parity_lost", "parity_gained", "drop_lost", "drop_gained")
"""Metrics of a pair, behind its split, that a claim rests on."""
_PREDICTIONS = ("prediction_white_box", "prediction_fp", "prediction_q")
_ROUNDING = 1e-9


class Evidence(StrEnum):
    """What the images say of a condition, or of a claim."""

    SHOWN = "shown"
    """It holds; chance is excluded at the level."""
    WITHIN_NOISE = "within noise"
    """It may hold or not: it hangs on fewer images than the interval is wide."""
    REFUTED = "refuted"
    """It does not hold; chance is excluded at the level."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A difference of two accuracies on the same images, a fraction, and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What the test images say of "this pair is catastrophic"."""

    num_images: int
    parity_gap: Difference
    """Its ends are the one-sided bounds, each at the level."""
    drop: Difference
    """As the gap's."""
    parity: Evidence
    """Of the gap being at most 1 pp."""
    fall: Evidence
    """Of the drop being at least 10 pp."""
    images_needed: int | None
    """Images that would show parity at the measured gap and discordance; None where the gap exceeds 1 pp."""

    @property
    def evidence(self) -> Evidence:
        """Of both conditions together."""
        both = (self.parity, self.fall)
        if Evidence.REFUTED in both:
            return Evidence.REFUTED
        return Evidence.WITHIN_NOISE if Evidence.WITHIN_NOISE in both else Evidence.SHOWN

    @property
    def text(self) -> str:
        """What people read beside the verdict `catastrophic`, e.g. `parity within noise: needs 3,000 images`."""
        evidence = self.evidence
        if evidence is Evidence.SHOWN:
            return str(evidence)
        conditions = [name for name, each in (("parity", self.parity), ("drop", self.fall)) if each is evidence]
        text = f"{' and '.join(conditions)} {evidence}"
        if evidence is Evidence.REFUTED or self.parity is Evidence.SHOWN or self.images_needed is None:
            return text
        return f"{text}: needs {_rounded_up(self.images_needed):,} images"


def claim_of(metrics: Mapping[str, float], claims: Claims, *, split: str = "test") -> Claim | None:
    """Returns what the images of a split say of a pair; None where its result counts no images.

    Args:
        metrics: Of a pair's result.
        claims: Settings of the tests.
        split: Whose images count.
    """
    if not all(f"{split}/{name}" in metrics for name in COUNTS):
        return None
    num_images, *changes = (round(metrics[f"{split}/{name}"]) for name in COUNTS)
    parity_lost, parity_gained, drop_lost, drop_gained = changes
    gap = _interval(parity_lost, parity_gained, num_images, claims.confidence)
    drop = _interval(drop_lost, drop_gained, num_images, claims.confidence)
    return Claim(
        num_images=num_images,
        parity_gap=gap,
        drop=drop,
        parity=_at_most(PARITY_TOLERANCE, gap.low, gap.high),
        fall=_at_most(-CATASTROPHIC_DROP, -drop.high, -drop.low),
        images_needed=images_needed(
            discordance=(parity_lost + parity_gained) / num_images,
            gap=max(0.0, gap.value),
            bound=PARITY_TOLERANCE,
            level=claims.level,
            power=claims.power,
        ),
    )


def is_shown(metrics: Mapping[str, float], claims: Claims, *, split: str) -> bool:
    """Tells whether the images of a split show a pair to be catastrophic; a result that counts none shows nothing."""
    claim = claim_of(metrics, claims, split=split)
    return claim is not None and claim.evidence is Evidence.SHOWN


def counts_of(predictions: pa.Table, split: str) -> dict[str, float]:
    """Counts the images that change sides in a pair's predictions.parquet, for results that do not say them.

    Returns:
        `<split>/<name>` of `COUNTS`; nothing where the table has no such columns or rows.
    """
    if not {"split", "label", *_PREDICTIONS} <= set(predictions.column_names):
        return {}
    rows = predictions.filter(pc.equal(pc.cast(predictions["split"], pa.string()), split))
    if not len(rows):
        return {}
    labels = rows["label"].to_numpy()
    white_box, full, quantized = (rows[name].to_numpy() == labels for name in _PREDICTIONS)
    changes = (white_box & ~full, full & ~white_box, full & ~quantized, quantized & ~full)
    values = (len(rows), *(each.sum() for each in changes))
    return {f"{split}/{name}": float(value) for name, value in zip(COUNTS, values, strict=True)}


def parity_images(discordance: float, claims: Claims) -> int:
    """Returns how many test images show the parity of a pair that has no gap, at a share of answers that differ."""
    needed = images_needed(
        discordance=discordance, gap=0.0, bound=PARITY_TOLERANCE, level=claims.level, power=claims.power
    )
    assert needed is not None
    return needed


def _interval(lost: int, gained: int, num_images: int, confidence: float) -> Difference:
    low, high = drop_interval(num_images - lost - gained, lost, gained, 0, confidence)
    return Difference(value=(lost - gained) / num_images, low=low, high=high)


def _at_most(bound: float, low: float, high: float) -> Evidence:
    if high <= bound + _ROUNDING:
        return Evidence.SHOWN
    return Evidence.REFUTED if low > bound + _ROUNDING else Evidence.WITHIN_NOISE


def _rounded_up(number: int) -> int:
    """Two digits are as much as a measured discordance tells."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit
