"""Every network under every policy (paper section 4.1, Table 3): is it the network, the policy, or the match?"""

from functools import partial

from torch import Tensor

from search_spaces.analyses import CrossPolicy
from trainables.analyses.trained_pair import Row, Subject, Unit, check_opposites, paired_counts
from trainables.data.images import TEST
from trainables.quant.random_allocation import random_allocations

NETWORKS = ("white_box", "robust", "detrimental")
POLICIES = ("robust", "detrimental")
RANDOM = "random"


def cross_policy(settings: CrossPolicy, robust: Subject, detrimental: Subject) -> list[Unit]:
    """Measures the white box and both students under both policies and under random bit-widths, on the test split.

    Random bit-widths meet the pairs' budget exactly in every image, and every allocation is equally likely; the paper
    does not say how its random bits are drawn. A draw gives the three networks the same bits.

    Args:
        settings: How many random draws, and their seed.
        robust: A robust pair.
        detrimental: The detrimental pair of the same white box and budget.

    Returns:
        A unit for every network, policy and draw, so that each is one pass over the test split and the first of a
        network one more. Columns: network (`white_box`, `robust`, `detrimental`), policy (`robust`, `detrimental`,
        `random`), draw (0, 1, ... of `random`, otherwise 0), accuracy_fp, accuracy_q, accuracy_delta, and of the same
        images before and after quantization num_images, num_lost, num_gained.

    Raises:
        ConfigError: The pairs are not of opposite goals, one white box and one budget.
    """
    check_opposites(robust, detrimental)
    columns = [(policy, 0) for policy in POLICIES] + [(RANDOM, draw) for draw in range(settings.num_draws)]
    subjects = {"robust": robust, "detrimental": detrimental}
    return [
        Unit(
            key=f"{network}/{column[0]}/{column[1]}",
            # The first unit of a network also makes its full-precision pass.
            num_images=robust.num_images(TEST) * (2 if column == columns[0] else 1),
            rows=partial(_rows, settings, subjects, network, *column),
        )
        for network in NETWORKS
        for column in columns
    ]


def _rows(settings: CrossPolicy, subjects: dict[str, Subject], network: str, policy: str, draw: int) -> list[Row]:
    # Both subjects have the same white box.
    subject = subjects.get(network, subjects["robust"])
    white_box = () if network in subjects else (subject.white_box,)
    full = subject.full_precision(TEST, *white_box)
    if network == policy:
        quantized = subject.quantized(TEST)
    else:
        bit_width_BL = _random(settings, subject, draw) if policy == RANDOM else subjects[policy].bit_width_BL(TEST)
        quantized = subject.classify(TEST, bit_width_BL, *white_box)
    row = {
        "network": network,
        "policy": policy,
        "draw": draw,
        "accuracy_fp": full.accuracy,
        "accuracy_q": quantized.accuracy,
        "accuracy_delta": quantized.accuracy - full.accuracy,
    }
    return [row | paired_counts(full, quantized)]


def _random(settings: CrossPolicy, subject: Subject, draw: int) -> Tensor:
    size, recipe = (subject.num_images(TEST), subject.student.num_sites), subject.recipe
    return random_allocations(*size, recipe.bit_widths, recipe.budget, seed=(settings.draw_seed, draw))
