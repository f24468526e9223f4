"""Accuracy with only some sites quantized (paper section 4.2, Figure 2): where along the depth is it lost?

For site l of L, in the order of execution, `before` quantizes the sites before l, `after` those after l, `single` l
alone, and `leave_one_out` all but l; the others stay at full precision. The policy's own bits of every image stay on
the sites that are quantized: each mode is the policy's matrix, masked.
"""

import itertools
from collections.abc import Callable, Iterable
from functools import partial

from search_spaces.analyses import Layers
from trainables.analyses.trained_pair import Row, Subject, Unit, paired_counts

Sites = frozenset[int]
"""Indices of the sites that are quantized."""
MODES: dict[str, Callable[[int, int], Iterable[int]]] = {
    "before": lambda site, num_sites: range(site),
    "after": lambda site, num_sites: range(site + 1, num_sites),
    "single": lambda site, num_sites: {site},
    "leave_one_out": lambda site, num_sites: set(range(num_sites)) - {site},
}
"""Sites that every mode quantizes, given its site and the number of all."""


def layers(settings: Layers, subject: Subject) -> list[Unit]:
    """Measures a pair with only some sites quantized, for every mode and site.

    Some modes quantize the same sites, such as `single` at the first and `before` at the second; such a pass is made
    once and gives several rows. L sites take 4 L - 6 quantized passes per split (L > 2) and the pair's own two. Every
    quantized pass has the quantized weights of the recipe (16 bits) as well; where no site is quantized, as in
    `before` at the first site, the answer is that of the true full-precision network, weights included.

    Args:
        settings: Splits, and how many of their images.
        subject: The pair.

    Returns:
        A unit for every split and distinct set of quantized sites. Columns: split, mode, site (from 0), site_name,
        accuracy, accuracy_fp and accuracy_q (the pair with no and with every site quantized), and of the same images
        at full precision and in this pass num_images, num_lost, num_gained.

    Raises:
        UnknownNameError: The data has no such split.
    """
    subject = subject.with_at_most(settings.max_images, settings.splits)
    labels: dict[Sites, list[tuple[str, int]]] = {}
    num_sites = subject.student.num_sites
    for mode, site in itertools.product(MODES, range(num_sites)):
        labels.setdefault(frozenset(MODES[mode](site, num_sites)), []).append((mode, site))
    return [
        Unit(
            key=f"{split}/{where[0][0]}/{where[0][1]}",
            # The first unit of a split, which quantizes nothing, also makes the pair's own quantized pass.
            num_images=subject.num_images(split) * (1 if quantized else 2),
            rows=partial(_rows, subject, split, quantized, where),
        )
        for split in settings.splits
        for quantized, where in labels.items()
    ]


def _rows(subject: Subject, split: str, quantized: Sites, where: list[tuple[str, int]]) -> list[Row]:
    full = subject.full_precision(split)
    seen = subject.classify_partly(split, quantized) if quantized else full
    measured = {
        "accuracy": seen.accuracy,
        "accuracy_fp": full.accuracy,
        "accuracy_q": subject.quantized(split).accuracy,
    } | paired_counts(full, seen)
    return [
        {"split": split, "mode": mode, "site": site, "site_name": subject.site_names[site]} | measured
        for mode, site in where
    ]
