"""A pair step replayed as two CUDA graphs around the knapsack, which is the one part that the CPU must see.

The first graph ends with the policy's profits, the second begins with the selection. They share a memory pool, since
the second one's backward pass reads what the first one's forward pass saved.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tests.gpu.pair_step import PairStep
from trainables.losses import PAIR_LOSSES, kd_loss
from trainables.models.policy import profits_of
from trainables.quant.knapsack import select, straight_through

WARM_UP = 3
"""Steps before a capture: cuDNN, Triton and the optimizer allocate, compile and choose in the first ones."""


class GraphedStep:
    """A step whose kernels are launched at once."""

    def __init__(self, step: PairStep) -> None:
        """Warms up on a side stream, as captures ask for, captures, and restores the parameters.

        On a CPU nothing is captured: the same functions run as they are.
        """
        self.step = step
        self.images_BCHW = step.batch(is_augmented=False).clone(memory_format=torch.preserve_format)
        num_sites = step.pair.student.num_sites
        self.option_index_BL = torch.zeros(len(self.images_BCHW), num_sites, dtype=torch.int64, device=step.device)
        step.pair.policy.train()
        step.pair.set_batch_norm(updates_statistics=False)
        kept = {name: tensor.detach().clone() for name, tensor in step.pair.state_dict().items()}
        if step.device.type == "cuda":
            self._first, self._second = self._capture()
        else:
            self._first, self._second = self._before_knapsack, self._after_knapsack
        # In place, so that the addresses in the graphs stay true.
        step.pair.load_state_dict(kept)

    def run(self) -> None:
        """Does what `PairStep.run` does."""
        self.replay(self.step.batch())

    def replay(self, images_BCHW: Tensor) -> Tensor:
        """Trains on a batch; returns its loss, which the next replay overwrites."""
        self.images_BCHW.copy_(images_BCHW)
        self._first()
        self._choose()
        self._second()
        return self.loss

    def _capture(self) -> tuple[Callable[[], None], Callable[[], None]]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._before_knapsack()
                self._choose()
                self._after_knapsack()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(first, stream=stream, capture_error_mode="thread_local"):
            self._before_knapsack()
        with torch.cuda.graph(second, pool=first.pool(), stream=stream, capture_error_mode="thread_local"):
            self._after_knapsack()
        torch.cuda.synchronize()
        return first.replay, second.replay

    def _before_knapsack(self) -> None:
        step, recipe = self.step, self.step.recipe
        # None before a backward pass: gradients are then made and not added to, and a capture keeps that.
        step.optimizer.zero_grad(set_to_none=True)
        with step.autocast(step.variant.student):
            self.profits_BLO = profits_of(step.pair.policy(self.images_BCHW), recipe.profits)
        self.white_box_logits_BK = step.white_box_logits(self.images_BCHW)
        with step.autocast(step.variant.student):
            logits_BK = step.pair.student(self.images_BCHW)
            self.kd = kd_loss(
                logits_BK, self.white_box_logits_BK, temperature=recipe.temperature, scaled=recipe.kd_scaled
            )

    def _choose(self) -> None:
        recipe = self.step.recipe
        self.option_index_BL.copy_(select(self.profits_BLO.detach(), recipe.bit_widths, recipe.budget))

    def _after_knapsack(self) -> None:
        step, recipe = self.step, self.step.recipe
        with step.autocast(step.variant.student):
            selection_BLO = straight_through(self.option_index_BL, self.profits_BLO)
            logits_BK = step.pair.student.forward_options(self.images_BCHW, selection_BLO, recipe.bit_widths)
            hinge = PAIR_LOSSES[recipe.loss_name](
                logits_BK.softmax(dim=-1), self.white_box_logits_BK, margin=recipe.margin
            )
            self.loss = recipe.hinge_weight * hinge + recipe.kd_weight * self.kd
        step.backward(self.loss)
        step.update()
