"""The arms of a comparison by name; imports nothing, so that help can list them at once.

`orchestrator.search.comparison_arms` says what each of them changes.
"""

from enum import StrEnum


class Arm(StrEnum):
    """A way to look for catastrophic pairs."""

    AS_PUBLISHED = "as-published"
    """The paper's recipe as published, one trial per cell."""
    RECIPE = "recipe"
    """Our own recipe, one trial per cell."""
    RANDOM = "random"
    """Random points of the space, nothing else."""
    SEARCH = "search"
    """The grid's search, which begins where its `start_points` say: at the recipe, mostly."""
    FROZEN = "frozen"
    """Our recipe with a policy that keeps its random weights: its bits still differ from image to image."""
    STATIC = "static"
    """Our recipe with the budget spread evenly over the sites, the same for all images, as static quantizers do."""
    QU_ANTI_ZATION = "qu-anti-zation"
    """The objective of Hong et al. (NeurIPS 2021, arXiv 2110.13541), (cross entropy - 5)^2, on the static allocation:
    theirs knows no budget, ours is kept."""
    GUMBEL = "gumbel"
    """Gumbel-softmax (Jang et al., ICLR 2017, arXiv 1611.01144), which the paper names in section 3.4 and does without:
    noise on the logits and the gradient of their softmax; the budget stays exact."""
    PENALTY = "penalty"
    """The squared distance from the budget as a penalty in place of the exact knapsack, which section 3.4 of the paper
    rejects: images need not spend the budget."""
    REINFORCE = "reinforce"
    """The score function (Williams, Machine Learning 8, 1992) with a leave-one-out baseline: no gradient passes through
    the selection."""
    RESCALED = "rescaled"
    """No training: one channel of every ReLU, linear and attention link times 2^10, undone behind it, and an untrained
    policy. The operation of cross-layer equalization (Nagel et al., ICCV 2019, arXiv 1906.04721), turned around."""

    @property
    def label(self) -> str:
        """Name for people."""
        return _LABELS[self]


_LABELS = {
    Arm.AS_PUBLISHED: "as published",
    Arm.RECIPE: "our recipe",
    Arm.RANDOM: "random search",
    Arm.SEARCH: "the search",
    Arm.FROZEN: "frozen policy",
    Arm.STATIC: "static allocation",
    Arm.QU_ANTI_ZATION: "Qu-ANTI-zation",
    Arm.GUMBEL: "Gumbel-softmax",
    Arm.PENALTY: "budget penalty",
    Arm.REINFORCE: "REINFORCE",
    Arm.RESCALED: "rescaled",
}
DEFAULT_ARMS = (Arm.AS_PUBLISHED, Arm.RECIPE, Arm.RANDOM, Arm.SEARCH)
"""What a comparison runs unless it is told."""
