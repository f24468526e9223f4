"""Training that hides from the detector's strongest signal: a penalty on answers that static allocations change.

The detector searches one allocation for all images under which most answers change (`signals.worst_allocation`). An
attacker who knows it trains the student to keep its answers there, while the pair's own policy makes them fail: the
failure must then hang on which image gets which bits. The search of the detector takes many passes; here every step
moves the allocation along the gradient of all options, which the penalty's own backward pass brings (as adversarial
training "for free" does for images, Shafahi et al. 2019, arXiv 1904.12843).

Shape letters: B = examples, K = classes, L = sites, O = options.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.losses import hinge_robust
from trainables.quant.knapsack import select
from trainables.quant.student import QuantizedStudent
from trainables.recognition.signals import few_bits

MARGIN = 0.1
"""Lead in probability that answers must keep under the allocation."""
MEMORY = 0.9
"""Share of the slopes of earlier steps: without it the allocation would jump between two that are both bad."""


class StaticHiding(nn.Module):
    """The static allocation that does most harm, as far as training knows, and what answers that it changes cost."""

    slope_LO: Tensor
    """Change of the penalty by every option, a mean over past steps; a buffer, so that a resumed training has it."""

    def __init__(self, student: QuantizedStudent, weight: float) -> None:
        """Begins at even bits, with the budget that the detector looks at."""
        super().__init__()
        self._weight = weight
        self._space = few_bits(student)
        self.register_buffer("slope_LO", torch.zeros(student.num_sites, len(self._space.bit_widths)))

    def losses(self, student: QuantizedStudent, images_BCHW: Tensor, white_box_logits_BK: Tensor) -> dict[str, Tensor]:
        """Returns `hide_static`, what is added to the loss; its backward pass moves the allocation."""
        selection_BLO = self._selection().expand(len(images_BCHW), -1, -1).clone().requires_grad_()
        selection_BLO.register_hook(self._learn)
        logits_BK = student.forward_options(images_BCHW, selection_BLO, self._space.bit_widths)
        harm = hinge_robust(logits_BK.softmax(-1), white_box_logits_BK, margin=MARGIN)
        return {"hide_static": self._weight * harm}

    def _selection(self) -> Tensor:
        scale = self.slope_LO.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
        option_index_1L = select((self.slope_LO / scale)[None], self._space.bit_widths, self._space.budget)
        return F.one_hot(option_index_1L, len(self._space.bit_widths)).to(self.slope_LO.dtype)

    def _learn(self, grad_BLO: Tensor) -> None:
        slope_LO = grad_BLO.sum(0)
        # What all options of a site have in common selects nothing.
        self.slope_LO.lerp_(slope_LO - slope_LO.mean(-1, keepdim=True), 1 - MEMORY)
