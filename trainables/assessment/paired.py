"""Intervals of shares, and of the difference of two accuracies on the same images: the only ones of the program.

Both need nothing but counts. A drop is a difference of paired shares: every image is classified twice, so that most
of what two separate intervals would say of chance cancels out. So is a parity gap.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

CONFIDENCE = 0.95
"""Of all intervals with two ends, unless another is said."""
_BISECTIONS = 60
"""Halvings of an interval of at most 2; after these it is shorter than rounding errors."""


def wilson_interval(num_hits: float, num_images: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns Wilson's interval of a share, which stays within [0, 1] and has a width at shares of 0 and 1 too.

    Without images any share is possible: (0, 1). Numbers need not be whole: those of clusters are effective numbers.

    Examples:
        >>> low, high = wilson_interval(10, 10)
        >>> round(low, 3), high
        (0.722, 1.0)
    """
    if num_images == 0:
        return 0.0, 1.0
    z = normal_quantile((1 + confidence) / 2)
    middle = (num_hits + z**2 / 2) / (num_images + z**2)
    half = z / (num_images + z**2) * math.sqrt(num_hits * (1 - num_hits / num_images) + z**2 / 4)
    # Exactly 0 and 1 where no image, or every image, is a hit.
    return (0.0 if num_hits == 0 else middle - half), (1.0 if num_hits == num_images else middle + half)


def drop_interval(
    both: int, lost: int, gained: int, neither: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Returns the interval of a paired drop, (lost - gained) / images.

    Tango, Statistics in Medicine 17:891-908 (1998): all drops that a score test does not reject. Where nothing changed
    it has a width, it stays within [-1, 1], and it holds 0 exactly where McNemar's test (without correction) does not
    reject. Of 359 and 1,500 images it covers within 2 points of its confidence, for drops of 98 to 99.5 % and for the
    gaps of parity (1 to 4 % of the answers differ) alike; Wald's covers 83 to 92 % there at large drops, and Newcombe's
    method 10 up to 99.6 % at small gaps.

    Args:
        both: Images that are right before and after.
        lost: Right before only.
        gained: Right after only.
        neither: Wrong both times.
        confidence: Of the interval; each end alone has (1 + confidence) / 2.

    Returns:
        Lowest and highest drop, fractions; (-1, 1) without images.

    Examples:
        >>> [round(end, 3) for end in drop_interval(90, 10, 0, 0)]
        [0.055, 0.174]
    """
    num_images = both + lost + gained + neither
    if num_images == 0:
        return -1.0, 1.0
    z, drop = normal_quantile((1 + confidence) / 2), (lost - gained) / num_images
    low = _boundary(lambda true: _score(lost, gained, num_images, true) <= z, drop, -1.0)
    high = _boundary(lambda true: _score(lost, gained, num_images, true) >= -z, drop, 1.0)
    return low, high


def images_needed(*, discordance: float, gap: float, bound: float, level: float, power: float) -> int | None:
    """Returns how many images show that a gap stays below a bound, by a one-sided test; None for a gap beyond it.

    The test is that of `drop_interval`. Nam, Biometrics 53:1422-1430 (1997): n = (z_level sqrt(v_bound) + z_power
    sqrt(v))^2 / (bound - gap)^2, with the variance of a single image at the true gap, v = discordance - gap^2, and as
    the test takes it, v_bound. With v in its place n is smaller, and the power too: 0.84 in place of 0.9 at a
    discordance of 1 %.

    Args:
        discordance: Share of images that one of the two gets right and the other wrong, in [0, 1].
        gap: True difference of the accuracies, at most the discordance.
        bound: Largest difference that counts as none.
        level: Chance to show it where the gap is at the bound.
        power: Chance to show it where the gap is as said.

    Examples:
        >>> images_needed(discordance=0.01, gap=0.0, bound=0.01, level=0.05, power=0.9)
        1132
    """
    if gap >= bound:
        return None
    z_level, z_power = normal_quantile(1 - level), normal_quantile(power)
    lost, gained = (discordance + gap) / 2, (discordance - gap) / 2
    spread = z_level * math.sqrt(_variance(lost, gained, 1, bound)) + z_power * math.sqrt(discordance - gap**2)
    return math.ceil((spread / (bound - gap)) ** 2)


def normal_quantile(share: float) -> float:
    """Returns the number below which so large a share of a standard normal distribution lies."""
    return NormalDist().inv_cdf(share)


def _boundary(is_inside: Callable[[float], bool], inside: float, outside: float) -> float:
    """Returns where a statement ends that holds at one place and not beyond another, or that place."""
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        if is_inside(middle):
            inside = middle
        else:
            outside = middle
    return outside


def _score(lost: int, gained: int, num_images: int, true: float) -> float:
    """Returns the score statistic of a drop against the true one, about standard normal; Tango's equation 8."""
    distance, variance = lost - gained - num_images * true, num_images * _variance(lost, gained, num_images, true)
    return (
        0.0 if distance == 0 else distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)
    )


def _variance(lost: float, gained: float, num_images: float, true: float) -> float:
    """Returns the variance of one image's loss (-1, 0 or 1), at the likeliest shares whose difference is the true one.

    The likeliest share of images that are gained is the larger root of a quadratic equation; Tango's equation 7.
    """
    a, b, c = 2 * num_images, -lost - gained + (2 * num_images - lost + gained) * true, -gained * true * (1 - true)
    share_gained = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    return 2 * share_gained + true * (1 - true)
