"""One training step of a pair in every variant that might be faster, whole and by part, on any device.

What runs is `trainables.stages.pair`; a variant only sets flags, layouts and number formats around it.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.recipes import PairRecipe
from trainables.data.augment import training_batch
from trainables.data.view import View
from trainables.losses import PAIR_LOSSES, kd_loss
from trainables.memory_format import memory_format
from trainables.models.backbones import create_backbone
from trainables.optim import build_optimizer
from trainables.quant.affine import QUANTIZER_VARIABLE
from trainables.quant.knapsack import KNAPSACK_VARIABLE
from trainables.quant.sites import LAYER_KINDS
from trainables.stages.pair import Pair, pair_losses
from trainables.training_loop import LOSS

# B = examples, K = classes, L = sites, O = bit-width options, C H W = image.

PARTS = (
    "augmentation",
    "white box",
    "full precision, forward + backward",
    "policy and knapsack, forward + backward",
    "quantized, forward + backward",
    "gradient clip and optimizer",
)
LOSS_SCALE = 1024.0
"""Keeps float16 gradients from vanishing; fixed, since adapting it would make the GPU wait."""
NUM_CLASSES = 37
LAYOUTS: dict[str, torch.memory_format] = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """How a step is run; the defaults are what the packages do today."""

    tf32: str = "convolutions"
    """`none`, `convolutions` (torch's default) or `all`: operations that may round float32 operands to TF32."""
    layout: str = "default"
    """`contiguous`, `channels last`, or what `memory_format` says of the device."""
    quantizer: str = "default"
    knapsack: str = "default"
    white_box: str = "float32"
    """Autocast of the frozen network."""
    student: str = "float32"
    """Autocast of both passes of the student, and of the policy."""
    benchmark: str = "off"
    """Whether cuDNN tries its algorithms before it chooses."""
    graph: str = "passes"
    """What is replayed as CUDA graphs: `off`, the `passes` of student and policy, or a `step`, all but augmentation and
    knapsack."""

    @property
    def name(self) -> str:
        """The settings that differ from today's.

        Examples:
            >>> Variant().name, Variant(tf32="all", graph="step").name
            ('default', 'tf32 all, graph step')
        """
        changed = [
            f"{each.name.replace('_', ' ')} {getattr(self, each.name)}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        ]
        return ", ".join(changed) or "default"


@contextmanager
def applied(variant: Variant) -> Iterator[None]:
    """Sets the process-wide flags and variables of a variant, and puts them back."""
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    before = {name: os.environ.get(name) for name in (QUANTIZER_VARIABLE, KNAPSACK_VARIABLE)}
    try:
        # The older of two interfaces. With the newer one (`fp32_precision`) torch.compile fails in torch 2.9 to 2.11,
        # because it still reads the older; writing the older keeps both in step.
        torch.backends.cudnn.allow_tf32 = variant.tf32 != "none"
        torch.backends.cuda.matmul.allow_tf32 = variant.tf32 == "all"
        torch.backends.cudnn.benchmark = variant.benchmark == "on"
        os.environ[QUANTIZER_VARIABLE] = variant.quantizer.removeprefix("default")
        os.environ[KNAPSACK_VARIABLE] = variant.knapsack.removeprefix("default")
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark = flags
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class PairStep:
    """A pair in training; use it within `applied(variant)`."""

    def __init__(
        self,
        recipe: PairRecipe,
        images_BCHW: Tensor,
        *,
        view: View,
        variant: Variant | None = None,
        white_box: nn.Module | None = None,
        is_calibrated: bool = False,
    ) -> None:
        """Builds the networks on the device of the images, with the same random weights every time.

        Args:
            recipe: Of the pair.
            images_BCHW: A stored batch, uint8.
            view: What the networks see of every image.
            variant: None for today's settings.
            white_box: On that device, frozen; None for one with random weights.
            is_calibrated: Whether a random one has its statistics measured; see `calibrate`.
        """
        self.recipe, self.view, self.variant = recipe, view, variant or Variant()
        self.images_BCHW, self.device = images_BCHW, images_BCHW.device
        self.layout = LAYOUTS.get(self.variant.layout) or memory_format(self.device)
        if white_box is None:
            torch.manual_seed(0)
            white_box = create_backbone(recipe.architecture, NUM_CLASSES).eval().requires_grad_(False)
            if is_calibrated:
                calibrate(white_box.to(self.device), self.batch(is_augmented=False))
        torch.manual_seed(1)
        self.white_box = white_box.to(self.device, memory_format=self.layout)
        self._asked = _with_weights(self.white_box, DTYPES[self.variant.white_box])
        self.pair = Pair(self.white_box, recipe).to(self.device, memory_format=self.layout)
        self.optimizer = build_optimizer(recipe, self.pair.parameters())
        self.waits_for_graphs = self.variant.graph == "passes" and self.device.type == "cuda"
        self.scale = LOSS_SCALE if self.variant.student == "float16" else 1.0

    def batch(self, *, is_augmented: bool = True) -> Tensor:
        """Returns normalized images."""
        augmentations = self.recipe.augmentations if is_augmented else ()
        return training_batch(self.images_BCHW, self.view, augmentations).to(memory_format=self.layout)

    def white_box_logits(self, images_BCHW: Tensor) -> Tensor:
        """Asks the frozen network."""
        with torch.no_grad(), self.autocast(self.variant.white_box):
            logits_BK: Tensor = self._asked(images_BCHW)
        return logits_BK.float()

    def losses(self, images_BCHW: Tensor, white_box_logits_BK: Tensor) -> dict[str, Tensor]:
        """Runs both passes of the student and the policy."""
        with self.autocast(self.variant.student):
            return pair_losses(self.pair, images_BCHW, white_box_logits_BK)

    def run(self) -> dict[str, Tensor]:
        """Does what `trainables.stages.pair` and the training loop do with a batch; returns its losses."""
        images_BCHW = self.batch()
        if self.waits_for_graphs:
            self.waits_for_graphs = False
            self.pair.capture(images_BCHW)
        losses = self.losses(images_BCHW, self.white_box_logits(images_BCHW))
        self.optimizer.zero_grad(set_to_none=True)
        self.backward(losses[LOSS])
        self.update()
        return losses

    def backward(self, loss: Tensor) -> None:
        """Adds gradients, those of float16 scaled up."""
        (loss * self.scale if self.scale != 1 else loss).backward()

    def update(self) -> None:
        """Clips the gradient and takes a step."""
        parameters = self.optimizer.param_groups[0]["params"]
        if self.scale != 1:
            torch._foreach_mul_([each.grad for each in parameters if each.grad is not None], 1 / self.scale)
        nn.utils.clip_grad_norm_(parameters, self.recipe.gradient_clip)
        self.optimizer.step()

    def by_part(self, clock: "Clock") -> None:
        """Does the same as `run` with one backward pass per part, and stops the clock behind each."""
        recipe, pair = self.recipe, self.pair
        clock.skip()
        images_BCHW = self.batch()
        clock.stop(PARTS[0])
        white_box_logits_BK = self.white_box_logits(images_BCHW)
        clock.stop(PARTS[1])
        self.optimizer.zero_grad(set_to_none=True)
        pair.policy.train()
        pair.set_batch_norm(updates_statistics=False)
        clock.skip()
        with self.autocast(self.variant.student):
            kd = kd_loss(pair.student(images_BCHW), white_box_logits_BK, temperature=recipe.temperature, scaled=True)
        self.backward(recipe.kd_weight * kd)
        clock.stop(PARTS[2])
        with self.autocast(self.variant.student):
            chosen_BLO = pair.draw(images_BCHW).selection_BLO
        clock.stop(PARTS[3])
        # Cut here, so that the policy's backward pass can be timed apart from the student's.
        selection_BLO = chosen_BLO.detach().requires_grad_()
        with self.autocast(self.variant.student):
            logits_BK = pair.run_options(images_BCHW, selection_BLO)
            probs_BK = logits_BK.softmax(dim=-1)
            hinge = PAIR_LOSSES[recipe.loss_name](probs_BK, white_box_logits_BK, margin=recipe.margin)
        self.backward(recipe.hinge_weight * hinge)
        clock.stop(PARTS[4])
        chosen_BLO.backward(selection_BLO.grad)
        clock.stop(PARTS[3])
        self.update()
        clock.stop(PARTS[5])

    def autocast(self, dtype: str) -> Any:
        """Returns the context of a number format."""
        # No cache of cast weights: it would outlive the capture of a CUDA graph.
        is_on = dtype != "float32"
        return torch.autocast(self.device.type, DTYPES[dtype] if is_on else None, enabled=is_on, cache_enabled=False)


def _with_weights(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Returns a network whose convolutions and products have weights of a type, so that autocast need not cast them."""
    if dtype == torch.float32:
        return network
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, LAYER_KINDS):
            module.to(dtype)
    return network


def calibrate(network: nn.Module, images_BCHW: Tensor) -> None:
    """Measures the statistics of the batch norms of a random network, and leaves it in evaluation mode.

    Without them the activations of a deep one grow from layer to layer, and a few steps of training diverge.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images_BCHW)
    network.eval()


class Clock:
    """Adds up the time between stops; on a GPU by events, so that nothing waits for it before `seconds`."""

    def __init__(self, device: torch.device, timer: Callable[[], float] = time.perf_counter) -> None:
        self._timer = timer
        self._is_cuda = device.type == "cuda"
        self._spans: list[tuple[str, Any, Any]] = []
        self._last = self._now()

    def stop(self, part: str) -> None:
        """Gives the time since the last stop to a part."""
        now = self._now()
        self._spans.append((part, self._last, now))
        self._last = now

    def skip(self) -> None:
        """Gives the time since the last stop to no part."""
        self._last = self._now()

    def seconds(self) -> dict[str, float]:
        """Waits for the device and returns the time of every part."""
        if self._is_cuda:
            torch.cuda.synchronize()
        totals: dict[str, float] = {}
        for part, start, end in self._spans:
            totals[part] = totals.get(part, 0.0) + (start.elapsed_time(end) / 1e3 if self._is_cuda else end - start)
        return totals

    def _now(self) -> Any:
        if not self._is_cuda:
            return self._timer()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def time_repeated(run: Callable[[], object], device: torch.device, *, repeats: int, warm_up: int = 3) -> list[float]:
    """Returns the seconds of every repetition, ascending, after some that warm up."""
    for _ in range(warm_up):
        run()
    clock = Clock(device)
    for repeat in range(repeats):
        run()
        clock.stop(str(repeat))
    return sorted(clock.seconds().values())


def median(seconds: list[float]) -> float:
    """Returns the middle value of an ascending list."""
    return seconds[len(seconds) // 2]
