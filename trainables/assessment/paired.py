"""Intervals of shares, and of the difference of two accuracies on the same images.

Both need nothing but counts. A drop is a difference of paired shares: every image is classified twice, so that most
of what two separate intervals would say of chance cancels out.
"""

import math

import scipy

CONFIDENCE = 0.95
"""Of all intervals."""


def wilson_interval(num_hits: int, num_images: int) -> tuple[float, float]:
    """Returns Wilson's interval of a share, which stays within [0, 1] and has a width at shares of 0 and 1 too.

    Without images any share is possible: (0, 1).

    Examples:
        >>> low, high = wilson_interval(10, 10)
        >>> round(low, 3), high
        (0.722, 1.0)
    """
    if num_images == 0:
        return 0.0, 1.0
    interval = scipy.stats.binomtest(num_hits, num_images).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def drop_interval(both: int, lost: int, gained: int, neither: int) -> tuple[float, float]:
    """Returns the interval of a paired drop, (lost - gained) / images.

    Newcombe, Statistics in Medicine 17:2635-2650 (1998), method 10: Wilson's intervals of both accuracies, squared and
    added, with the correlation of the pairs, which is corrected for continuity where it is positive. Unlike Wald's it
    stays within [-1, 1] and has a width where nothing changed.

    Args:
        both: Images that are right before and after.
        lost: Right before only.
        gained: Right after only.
        neither: Wrong both times.

    Returns:
        Lowest and highest drop, fractions; (-1, 1) without images.

    Examples:
        >>> [round(end, 3) for end in drop_interval(90, 10, 0, 0)]
        [0.042, 0.174]
    """
    num_images = both + lost + gained + neither
    if num_images == 0:
        return -1.0, 1.0
    before, after = (both + lost) / num_images, (both + gained) / num_images
    (low_before, high_before), (low_after, high_after) = (
        wilson_interval(both + lost, num_images),
        wilson_interval(both + gained, num_images),
    )
    correlation = _correlation(both, lost, gained, neither)
    down, up = before - low_before, high_before - before
    under, over = after - low_after, high_after - after
    drop = before - after
    # Rounding may leave a difference of squares below 0.
    low = drop - math.sqrt(max(0.0, down**2 - 2 * correlation * down * over + over**2))
    high = drop + math.sqrt(max(0.0, up**2 - 2 * correlation * up * under + under**2))
    return max(-1.0, low), min(1.0, high)


def _correlation(both: int, lost: int, gained: int, neither: int) -> float:
    """Returns phi of the fourfold table with Newcombe's correction; 0 where a margin is empty."""
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if margins == 0:
        return 0.0
    product: float = both * neither - lost * gained
    if product > 0:
        product = max(0.0, product - (both + lost + gained + neither) / 2)
    return product / math.sqrt(margins)
