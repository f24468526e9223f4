"""Mitigations that the paper suggests: scales from quantiles, and sites left at full precision (end of section 4.2)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import numpy as np

from search_spaces.analyses import Mitigation
from trainables.analyses.trained_pair import Row, Subject, Unit, paired_counts
from trainables.data.images import TEST, VALIDATION
from trainables.evaluation import Classified
from trainables.quant.student import QuantizedStudent

NUM_RANDOM_DRAWS = 5
"""Orders of sites that the worst sites are compared with, the same for every pair of as many sites."""


def mitigation(settings: Mitigation, subject: Subject) -> list[Unit]:
    """Measures on the test split what each mitigation gives back. The policy's bit-widths stay what they are.

    The worst sites are those with the lowest accuracy when they alone are quantized, on the validation split; of equals
    the earlier. Sites at full precision cost more than the budget: the bits they had are not given to others either.

    Args:
        settings: The quantiles and the numbers of sites; numbers above the pair's number of sites are left out.
        subject: The pair.

    Returns:
        A unit per kind and value. Each has one row, but `random_sites` one per draw: a draw is an order of the sites,
        of which the first are left at full precision. Columns: kind; value; draw (of `random_sites`, from 0, otherwise
        None); sites (left at full precision, ascending, from 0); accuracy_fp; accuracy_q; recovered, the share of the
        drop that is given back, (accuracy_q - accuracy_q of `none`) / (accuracy_fp - accuracy_q of `none`), None where
        nothing dropped; and the counts of `paired_counts` from full precision to quantized. Kinds and values:

        * `none`: unmitigated, value is the recipe's own scale_quantile;
        * `scale_quantile`: ranges end at this quantile of an activation, as `fake_quantize` defines it;
        * `sites_at_full_precision`, `random_sites`: value is the number of sites.

        The ranking, which the first unit of `sites_at_full_precision` computes, is counted there.
    """
    num_images, num_sites = subject.num_images(TEST), len(subject.site_names)
    ranking = cache(partial(worst_sites, subject))
    own = subject.recipe.scale_quantile
    units = [Unit(key="none", num_images=2 * num_images, rows=lambda: [_row(subject, "none", own)])]
    # A range over a batch ends at its extremes.
    for quantile in settings.quantiles if subject.student.range_scope != "batch" else ():
        rows = partial(_quantile_rows, subject, quantile)
        units.append(Unit(key=f"scale_quantile/{quantile}", num_images=num_images, rows=rows))
    ranking_cost = num_sites * subject.num_images(VALIDATION)
    for num_kept in [number for number in settings.num_sites if number <= num_sites]:
        units += [
            Unit(
                key=f"sites_at_full_precision/{num_kept}",
                num_images=num_images + ranking_cost,
                rows=partial(_worst_rows, subject, ranking, num_kept),
            ),
            Unit(
                key=f"random_sites/{num_kept}",
                num_images=NUM_RANDOM_DRAWS * num_images,
                rows=partial(_random_rows, subject, num_kept),
            ),
        ]
        ranking_cost = 0
    return units


def worst_sites(subject: Subject) -> list[int]:
    """Orders the sites by the validation accuracy with only that site quantized, lowest first."""
    # Sorting is stable.
    sites = range(subject.student.num_sites)
    return sorted(sites, key=lambda site: subject.classify_partly(VALIDATION, [site]).accuracy)


@contextmanager
def scale_quantile(student: QuantizedStudent, quantile: float) -> Iterator[None]:
    """Gives a student another quantile, and its own back in any case."""
    own = student.scale_quantile
    student.scale_quantile = quantile
    try:
        yield
    finally:
        student.scale_quantile = own


def _quantile_rows(subject: Subject, quantile: float) -> list[Row]:
    with scale_quantile(subject.student, quantile):
        mitigated = subject.classify(TEST, subject.bit_width_BL(TEST))
    return [_row(subject, "scale_quantile", quantile, mitigated=mitigated)]


def _worst_rows(subject: Subject, ranking: Callable[[], list[int]], num_kept: int) -> list[Row]:
    return [_kept_row(subject, "sites_at_full_precision", ranking()[:num_kept])]


def _random_rows(subject: Subject, num_kept: int) -> list[Row]:
    orders = [np.random.default_rng(draw).permutation(len(subject.site_names)) for draw in range(NUM_RANDOM_DRAWS)]
    kept = [order[:num_kept].tolist() for order in orders]
    return [_kept_row(subject, "random_sites", sites, draw=draw) for draw, sites in enumerate(kept)]


def _kept_row(subject: Subject, kind: str, sites: Sequence[int], *, draw: int | None = None) -> Row:
    mitigated = subject.classify_partly(TEST, set(range(subject.student.num_sites)) - set(sites))
    return _row(subject, kind, len(sites), sites=sites, draw=draw, mitigated=mitigated)


def _row(
    subject: Subject,
    kind: str,
    value: float,
    *,
    sites: Sequence[int] = (),
    draw: int | None = None,
    mitigated: Classified | None = None,
) -> Row:
    full, unmitigated = subject.full_precision(TEST), subject.quantized(TEST)
    mitigated = mitigated or unmitigated
    drop = full.accuracy - unmitigated.accuracy
    return {
        "kind": kind,
        "value": float(value),
        "draw": draw,
        "sites": sorted(sites),
        "accuracy_fp": full.accuracy,
        "accuracy_q": mitigated.accuracy,
        "recovered": (mitigated.accuracy - unmitigated.accuracy) / drop if drop > 0 else None,
        **paired_counts(full, mitigated),
    }
