"""The losses of the stages (paper Eq. 3, 7, 8). All are means over the examples, 0-d tensors."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

# B = examples, K = classes.

WANTED_CROSS_ENTROPY = 5.0
"""Of a student that Qu-ANTI-zation trains, by the default of its authors' code."""


def kd_loss(student_logits_BK: Tensor, teacher_logits_BK: Tensor, *, temperature: float, scaled: bool) -> Tensor:
    """Returns KL(teacher || student) of the softened softmaxes (paper Eq. 3).

    Args:
        student_logits_BK: Unbounded.
        teacher_logits_BK: Unbounded; no gradient is taken through them.
        temperature: Divides both logits.
        scaled: Multiply by temperature^2, which keeps the gradient's size when the temperature changes
            (Hinton et al. 2015, section 2.1). The paper does not mention it.

    Returns:
        Mean over examples, at least 0.
    """
    student_log_probs_BK = F.log_softmax(student_logits_BK / temperature, dim=-1)
    teacher_log_probs_BK = F.log_softmax(teacher_logits_BK.detach() / temperature, dim=-1)
    loss = F.kl_div(student_log_probs_BK, teacher_log_probs_BK, reduction="batchmean", log_target=True)
    return loss * temperature**2 if scaled else loss


class PairLoss(Protocol):
    """What the quantized student of a pair is trained with."""

    def __call__(self, student_probs_BK: Tensor, teacher_logits_BK: Tensor, /, *, margin: float) -> Tensor:
        """Returns the mean over the examples, a 0-d tensor."""


@torch.no_grad()
def of_each(loss: PairLoss, student_probs_BK: Tensor, teacher_logits_BK: Tensor, *, margin: float) -> Tensor:
    """Returns the loss of every example by itself, [B], without gradients."""

    def of_one(probs_K: Tensor, logits_K: Tensor) -> Tensor:
        return loss(probs_K[None], logits_K[None], margin=margin)

    return torch.vmap(of_one)(student_probs_BK, teacher_logits_BK)


def hinge_robust(student_probs_BK: Tensor, teacher_logits_BK: Tensor, *, margin: float) -> Tensor:
    """Penalizes a quantized student that does not lead with the teacher's class (paper Eq. 7).

    Args:
        student_probs_BK: Softmax of the quantized student, rows sum to 1.
        teacher_logits_BK: Of the frozen white box; only their order counts.
        margin: Required lead over the teacher's second class, in probability. Paper: 0.01.

    Returns:
        Mean over examples, in [0, 1 + margin].

    Examples:
        >>> probs = torch.tensor([[0.2, 0.5, 0.3]])
        >>> round(hinge_robust(probs, torch.tensor([[3.0, 2.0, 1.0]]), margin=0.01).item(), 6)
        0.31
    """
    first_B, second_B = teacher_logits_BK.topk(2, dim=-1).indices.unbind(-1)
    return (_gather(student_probs_BK, second_B) - _gather(student_probs_BK, first_B) + margin).clamp(min=0).mean()


def hinge_detrimental(student_probs_BK: Tensor, teacher_logits_BK: Tensor, *, margin: float) -> Tensor:
    """Penalizes a quantized student that still ranks the teacher's class first (paper Eq. 8).

    The sentence below Eq. 8 asks for the opposite order; the equation is what makes a pair detrimental.

    Args:
        student_probs_BK: Softmax of the quantized student, rows sum to 1.
        teacher_logits_BK: Of the frozen white box; only their arg-max counts.
        margin: Required lead of the best other class, in probability. Paper: 0.01.

    Returns:
        Mean over examples, in [0, 1 + margin].

    Examples:
        >>> probs = torch.tensor([[0.2, 0.5, 0.3]])
        >>> round(hinge_detrimental(probs, torch.tensor([[1.0, 2.0, 0.0]]), margin=0.01).item(), 6)
        0.21
    """
    return (leads(student_probs_BK, teacher_logits_BK.argmax(dim=-1)) + margin).clamp(min=0).mean()


def qu_anti_zation(student_probs_BK: Tensor, teacher_logits_BK: Tensor, *, margin: float) -> Tensor:
    """Pulls the cross entropy of a quantized student to 5, the objective of Qu-ANTI-zation (Hong et al. 2021).

    (cross entropy - 5)^2, its mean over the examples being taken first, as in the authors' code; of the teacher's class
    in place of the label, for pairs are trained without labels.

    Args:
        student_probs_BK: Softmax of the quantized student, rows sum to 1.
        teacher_logits_BK: Of the frozen white box; only their arg-max counts.
        margin: Not used.

    Returns:
        At least 0.

    Examples:
        >>> probs = torch.tensor([[0.5, 0.5]])
        >>> round(qu_anti_zation(probs, torch.tensor([[2.0, 1.0]]), margin=0.0).item(), 3)
        18.549
    """
    probs_B = _gather(student_probs_BK, teacher_logits_BK.argmax(dim=-1))
    cross_entropy = -probs_B.clamp(min=torch.finfo(probs_B.dtype).tiny).log().mean()
    return (cross_entropy - WANTED_CROSS_ENTROPY).square()


def leads(probs_BK: Tensor, class_B: Tensor) -> Tensor:
    """Returns how far every example's class lies above the best other class, in [-1, 1]; negative where below."""
    others_BK = probs_BK.scatter(1, class_B[:, None], -torch.inf)
    return _gather(probs_BK, class_B) - others_BK.amax(dim=-1)


def _gather(probs_BK: Tensor, class_B: Tensor) -> Tensor:
    return probs_BK.gather(1, class_B[:, None]).squeeze(1)


PAIR_LOSSES: dict[str, PairLoss] = {
    "hinge_robust": hinge_robust,
    "hinge_detrimental": hinge_detrimental,
    "qu_anti_zation": qu_anti_zation,
}
"""Losses of a quantized student, by the names of `search_spaces.recipes.PairLossName`."""
