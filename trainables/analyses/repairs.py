"""What repairs leave of a pair: the parity gap and the drop under each, with intervals.

A pair is trained against some repairs, or none (`PairRecipe.trained_against`), and evaluated with all of them: the
tables of several sweeps, side by side, are the matrix {trained against} x {evaluated with}. A repair holds where pairs
that were trained against it do not drop under it.

Shape letters: B = images, L = sites.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from torch import Tensor

from search_spaces.analyses import Repairs
from trainables.analyses.mitigation import worst_sites
from trainables.analyses.trained_pair import Row, Subject, Unit, paired_counts
from trainables.assessment.channel_scan import channel_maxima
from trainables.assessment.paired import drop_interval
from trainables.assessment.repairs.cures import Cure
from trainables.attacks.space import Space
from trainables.attacks.uniform import uniform
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST, VALIDATION
from trainables.evaluation import EVALUATION_BATCH, Classified, classify
from trainables.models.equalization import equalize
from trainables.quant.student import QuantizedStudent

ALLOCATIONS = ("policy", "uniform")
"""The pair's own bits of every image, and its budget spread evenly."""
CHECK_IMAGES = 8
"""Images on which equalization compares the full precision before and after."""


Apply = Callable[[QuantizedStudent], QuantizedStudent]
"""Function from a network to a repaired one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """A repair of this analysis."""

    name: str
    value: float | None = None
    apply: Apply | None = None
    """None leaves the network as it is."""
    least_bits: int = 0
    """Bits that every site gets at least."""
    extra_images: int = 0
    """Passes of images that choosing it takes."""


def repairs(settings: Repairs, subject: Subject) -> list[Unit]:
    """Measures on the test split what is left of a pair under each repair.

    Without a repair (`plain`) ranges reach from the smallest to the largest value of an image, or of a batch where the
    recipe says so, whatever the pair was trained with.

    Args:
        settings: The values of the repairs; numbers of sites that leave none to quantize are left out.
        subject: The pair.

    Returns:
        A unit per repair, with a row per allocation (`policy`, `uniform`). Columns: trained_against (text); repair;
        value; allocation; mean_bits of an image, which `least_bits` raises above the budget; accuracy_white_box;
        accuracy_fp of the repaired network; parity_gap, gap_low, gap_high; accuracy_q; drop, drop_low, drop_high, which
        are paired intervals at 95 % (`assessment.paired`); and the counts of `paired_counts` from full precision to
        quantized. Repairs and values:

        * `plain`;
        * `channel_ranges`: a range per channel of an image;
        * `quantile_ranges`: ranges end at this quantile;
        * `equalization`: cross-layer, by the weights (Nagel et al. 2019);
        * `data_equalization`: the same by the ranges of activations on validation images;
        * `spared_sites`: so many of the worst sites, ranked as in `mitigation`, at full precision;
        * `least_bits`: every site gets at least so many bits.
    """
    network = plain(subject.student)
    return [
        Unit(
            key=each.name if each.value is None else f"{each.name}/{each.value:g}",
            num_images=3 * subject.num_images(TEST) + each.extra_images,
            rows=partial(_rows, subject, network, each),
        )
        for each in _repairs(settings, subject, network)
    ]


def plain(student: QuantizedStudent) -> QuantizedStudent:
    """Returns a network with ranges that reach from the smallest to the largest value of an image or a batch."""
    network = copy.copy(student)
    network.scale_quantile = 1.0
    if network.range_scope == "channel":
        network.range_scope = "example"
    return network


def _repairs(settings: Repairs, subject: Subject, network: QuantizedStudent) -> list[Repair]:
    ranking = cache(partial(worst_sites, subject))
    cured = partial(_cured, subject)
    found = [Repair(name="plain"), Repair(name="channel_ranges", apply=cured(lambda: Cure(kind="channel_ranges")))]
    # A range over a batch ends at its extremes.
    for quantile in settings.quantiles if network.range_scope != "batch" else ():
        cure = partial(Cure, kind="quantile_ranges", scale_quantile=quantile)
        found.append(Repair(name="quantile_ranges", value=quantile, apply=cured(cure)))
    found.append(Repair(name="equalization", apply=cured(lambda: Cure(kind="equalization"))))
    # Links name the outputs of layers.
    if network.placement == "outputs":
        by_data, cost = partial(_equalized_by_data, subject), subject.num_images(VALIDATION)
        found.append(Repair(name="data_equalization", apply=by_data, extra_images=cost))
    ranking_cost = network.num_sites * subject.num_images(VALIDATION)
    for number in [number for number in settings.num_sites if number < network.num_sites]:
        apply = cured(partial(_spare, ranking, number))
        found.append(Repair(name="spared_sites", value=number, apply=apply, extra_images=ranking_cost))
        ranking_cost = 0
    return found + [Repair(name="least_bits", value=bits, least_bits=bits) for bits in settings.least_bits]


def _spare(ranking: Callable[[], list[int]], number: int) -> Cure:
    return Cure(kind="sites", sites=tuple(sorted(ranking()[:number])))


def _cured(subject: Subject, cure: Callable[[], Cure]) -> Apply:
    def apply(network: QuantizedStudent) -> QuantizedStudent:
        repaired = cure().applied_to(network, _checked(subject))
        assert isinstance(repaired, QuantizedStudent)
        return repaired

    return apply


def _equalized_by_data(subject: Subject, network: QuantizedStudent) -> QuantizedStudent:
    parts = subject.split(VALIDATION).images_BCHW.split(EVALUATION_BATCH)
    maxima = channel_maxima(network, (evaluation_batch(part, subject.data.view) for part in parts))
    model = equalize(
        network.model, _checked(subject), channel_maxima={site: each.amax(0) for site, each in maxima.items()}
    ).model
    repaired = QuantizedStudent(
        model, weight_bit_width=network.weight_bit_width, range_scope=network.range_scope, sites=network.placement
    )
    return repaired.eval().requires_grad_(False)


def _checked(subject: Subject) -> Tensor:
    """Returns the images on which equalization compares the full precision."""
    return evaluation_batch(subject.split(TEST).images_BCHW[:CHECK_IMAGES], subject.data.view)


def _rows(subject: Subject, network: QuantizedStudent, repair: Repair) -> list[Row]:
    if repair.apply:
        network = repair.apply(network)
    white_box = subject.full_precision(TEST, subject.white_box)
    full = classify(network, subject.split(TEST), subject.data.view)
    rows = []
    for allocation in ALLOCATIONS:
        bit_width_BL = _allocated(subject, allocation).clamp(min=repair.least_bits)
        quantized = subject.classify(TEST, bit_width_BL, network)
        gap, gap_low, gap_high = _paired(white_box, full)
        drop, drop_low, drop_high = _paired(full, quantized)
        rows.append(
            {
                "trained_against": subject.recipe.trained_against,
                "repair": repair.name,
                "value": None if repair.value is None else float(repair.value),
                "allocation": allocation,
                "mean_bits": bit_width_BL.sum(1).double().mean().item(),
                "accuracy_white_box": white_box.accuracy,
                "accuracy_fp": full.accuracy,
                "parity_gap": gap,
                "gap_low": gap_low,
                "gap_high": gap_high,
                "accuracy_q": quantized.accuracy,
                "drop": drop,
                "drop_low": drop_low,
                "drop_high": drop_high,
                **paired_counts(full, quantized),
            }
        )
    return rows


def _allocated(subject: Subject, allocation: str) -> Tensor:
    if allocation == "policy":
        return subject.bit_width_BL(TEST)
    recipe = subject.recipe
    space = Space(num_sites=subject.student.num_sites, bit_widths=recipe.bit_widths, budget=recipe.budget)
    return uniform(subject.num_images(TEST), space)


def _paired(before: Classified, after: Classified) -> tuple[float, float, float]:
    """Returns what accuracy falls by, and the ends of its interval."""
    was_right_B, is_right_B = before.is_right_B, after.is_right_B
    pairs = ((was_right_B, is_right_B), (was_right_B, ~is_right_B), (~was_right_B, is_right_B))
    both, lost, gained = (int((one & other).sum()) for one, other in pairs)
    low, high = drop_interval(both, lost, gained, len(was_right_B) - both - lost - gained)
    return before.accuracy - after.accuracy, low, high
