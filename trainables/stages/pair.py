"""Stage 3: train a student and its bit-width policy together (paper sections 3.2 to 3.4, Eq. 9 and 10).

The frozen white box is the teacher and the student's starting point. Every batch passes through the student twice: at
full precision, where a KL term holds it to the white box, and quantized as the policy chose, where a hinge rewards it
for keeping (robust) or losing (detrimental) the white box's class. The policy gets the gradient of the hinge alone,
since only the quantized pass depends on it.

The paper leaves three choices open that decide whether a pair is found. Comments explain them where they are made, with
the accuracy at full precision and its change when quantized (percent; `quick`'s detrimental pair at 5.5 bits, seed 0).
With all three as they are it is 98 and -98.
"""

import copy

import torch
from torch import Tensor, nn

from search_spaces.budgets import check_budget, placement_of, scope_of
from search_spaces.errors import NonFiniteLossError
from search_spaces.objective import parity_gap
from search_spaces.recipes import WHOLE_PAIR, PairRecipe
from trainables.checkpoints import ResumePoint, with_prefix
from trainables.data.augment import training_batch
from trainables.data.images import TEST, TRAIN, VALIDATION, ImageData
from trainables.evaluation import Classified, classify, classify_quantized, outputs, prediction_columns
from trainables.losses import PAIR_LOSSES, kd_loss
from trainables.memory_format import place
from trainables.models.policy import Policy, profits_of
from trainables.quant.knapsack import bit_widths_of, select, straight_through
from trainables.quant.student import QuantizedStudent
from trainables.stages.graphs import OptionsPass, are_wanted, capture_passes
from trainables.training_loop import LOSS, StageResult, StageRun, run_epochs

# B = examples, K = classes, L = sites, O = bit-width options, C H W = image.

STUDENT, POLICY = "student.", "policy."
"""Prefixes in the checkpoint; the student's tensors keep the white box's names behind it."""
CPU = torch.device("cpu")


class Pair(nn.Module):
    """A student and the policy that chooses its bit-widths."""

    def __init__(self, white_box: nn.Module, recipe: PairRecipe) -> None:
        """Copies the white box and adds a fresh policy.

        Raises:
            InfeasibleBudgetError: No allocation over the student's sites meets the budget.
        """
        super().__init__()
        self.recipe = recipe
        # range_gradient: the scale of an activation is a function of its extremes, so they get a gradient too, and the
        # student can widen a range until all other values fall on few levels. With the scale detached the pair
        # came later: -58 in place of -86 after 15 epochs of a slower recipe; this recipe is long enough for both, 98
        # and -97.
        self.student = QuantizedStudent(
            copy.deepcopy(white_box),
            weight_bit_width=recipe.weight_bit_width,
            range_gradient=recipe.range_gradient,
            scale_quantile=recipe.scale_quantile,
            range_scope=scope_of(recipe.range_scope),
            sites=placement_of(recipe.sites),
        )
        check_budget(recipe.budget, self.student.num_sites, recipe.bit_widths)
        self.policy = Policy(num_sites=self.student.num_sites, num_options=len(recipe.bit_widths))
        self.student.requires_grad_("student" in recipe.train)
        self.policy.requires_grad_("policy" in recipe.train)
        # In a tuple, into which torch does not look: the state dict would hold the student twice.
        self._quantized = (OptionsPass(self.student, recipe.bit_widths),)

    def choose(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the selected option_index_BL and the profits_BLO that it was selected from.

        Deterministic: the knapsack's optimum, never a sample.
        """
        profits_BLO = profits_of(self.policy(images_BCHW), self.recipe.profits)
        if not torch.isfinite(profits_BLO).all():
            raise NonFiniteLossError("the policy's profits became NaN or infinite: lower the learning rate.")
        return select(profits_BLO.detach(), self.recipe.bit_widths, self.recipe.budget), profits_BLO

    def bit_widths(self, images_BCHW: Tensor) -> Tensor:
        """Returns the bit_width_BL that the policy gives these images; every row sums to the budget."""
        option_index_BL, _ = self.choose(images_BCHW)
        return bit_widths_of(option_index_BL, self.recipe.bit_widths)

    def forward_quantized(self, images_BCHW: Tensor) -> Tensor:
        """Returns quantized logits_BK, with gradients to student and policy."""
        option_index_BL, profits_BLO = self.choose(images_BCHW)
        selection_BLO = straight_through(option_index_BL, profits_BLO)
        return self.run_options(images_BCHW, selection_BLO)

    def run_options(self, images_BCHW: Tensor, selection_BLO: Tensor) -> Tensor:
        """Returns the student's logits_BK at the selected options; the backward pass reaches every option."""
        (quantized,) = self._quantized
        logits_BK: Tensor = quantized(images_BCHW, selection_BLO)
        return logits_BK

    def capture(self, images_BCHW: Tensor) -> bool:
        """Lets the passes of training steps replay CUDA graphs; see `graphs.capture_passes`."""
        self.policy.train()
        self.set_batch_norm(updates_statistics=False)
        return capture_passes(self.policy, *self._quantized, images_BCHW)

    def set_batch_norm(self, *, updates_statistics: bool) -> None:
        """Puts the student into training mode, with or without moving batch-norm statistics.

        By default no pass moves them, so that both passes, training and evaluation all normalize alike. Statistics that
        both passes move mix two distributions and fit neither: 85 and -55. With those of the full-precision pass alone
        that pass trains with the statistics of batches and is measured with running ones: 84 and -27. The affine
        parameters train in any case.
        """
        self.student.train()
        for module in self.student.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(updates_statistics)


def train(
    recipe: PairRecipe,
    data: ImageData,
    *,
    white_box: nn.Module,
    seed: int = 0,
    device: torch.device = CPU,
    resume: ResumePoint | None = None,
) -> StageRun:
    """Trains a pair; see `registry.start_stage`, and docs/python.md for how to call it on one's own.

    The white box is any module that `torch.fx` can trace, from normalized images [B, 3, H, W] to logits [B, K]. It
    stays as it is: where it is in training mode, or its parameters train, a copy stands for it.

    Yields:
        A report per epoch with accuracy_fp, accuracy_q and parity_gap on the validation split.

    Returns:
        For both held-out splits accuracy_white_box, accuracy_fp, accuracy_q, accuracy_delta, parity_gap,
        drop_standard_error, num_images, and the images that change sides from white box to student (parity_lost,
        parity_gained) and under quantization (drop_lost, drop_gained); the checkpoint `student.*` and `policy.*`; per
        image the predictions, margins and chosen bit-widths.

    Raises:
        ConfigError: The white box cannot be traced, or has no site.
        InfeasibleBudgetError: No allocation over the student's sites meets the budget.
        NonFiniteLossError: The training diverged.
    """
    white_box = _frozen(white_box, device)
    torch.manual_seed(seed)
    pair = Pair(white_box, recipe)
    place(pair, device)
    split = data.splits[TRAIN]
    white_box_seen = {name: classify(white_box, data.splits[name], data.view) for name in (VALIDATION, TEST)}
    # A pass that moves statistics, or one without a gradient, is not captured.
    waits_for_graphs = are_wanted(device) and recipe.batch_norm == "frozen" and set(recipe.train) == set(WHOLE_PAIR)

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        nonlocal waits_for_graphs
        images_BCHW = training_batch(split.images_BCHW[positions_B.to(device)], data.view, recipe.augmentations)
        if waits_for_graphs:
            waits_for_graphs = False
            pair.capture(images_BCHW)
        with torch.no_grad():
            white_box_logits_BK = white_box(images_BCHW)
        return pair_losses(pair, images_BCHW, white_box_logits_BK)

    def evaluate() -> dict[str, float]:
        full, quantized, _ = measure(pair, data, VALIDATION)
        return _accuracies(VALIDATION, white_box_seen[VALIDATION], full, quantized)

    yield from run_epochs(
        recipe,
        pair,
        step,
        num_images=len(split),
        evaluate=evaluate,
        seed=seed,
        gradient_clip=recipe.gradient_clip,
        resume=resume,
    )
    return _result(pair, data, white_box_seen)


def pair_losses(pair: Pair, images_BCHW: Tensor, white_box_logits_BK: Tensor) -> dict[str, Tensor]:
    """Computes the losses of one batch (Eq. 9 for the robust goal, Eq. 10 for the detrimental one).

    Args:
        pair: What is trained.
        images_BCHW: Normalized images.
        white_box_logits_BK: The teacher's answer to the same images.

    Returns:
        `loss`, and its unweighted parts `hinge` and `kd`, 0-d tensors.
    """
    recipe = pair.recipe
    pair.policy.train()
    pair.set_batch_norm(updates_statistics=recipe.batch_norm != "frozen")
    full_logits_BK = pair.student(images_BCHW)
    # kd_scaled: softening by a temperature T divides the gradient of the KL term by about T^2, here 25, so the term is
    # multiplied by it (Hinton et al. 2015). Without it the hinge outweighs the term, and nothing holds the student to
    # the white box at full precision: 7 and -1.
    kd = kd_loss(full_logits_BK, white_box_logits_BK, temperature=recipe.temperature, scaled=recipe.kd_scaled)
    pair.set_batch_norm(updates_statistics=recipe.batch_norm == "both")
    probs_BK = pair.forward_quantized(images_BCHW).softmax(dim=-1)
    hinge = PAIR_LOSSES[recipe.loss_name](probs_BK, white_box_logits_BK, margin=recipe.margin)
    return {LOSS: recipe.hinge_weight * hinge + recipe.kd_weight * kd, "hinge": hinge, "kd": kd}


def measure(pair: Pair, data: ImageData, split: str) -> tuple[Classified, Classified, Tensor]:
    """Measures a pair on a split: at full precision, quantized as its policy chooses, and the bit_width_BL chosen."""
    pair.eval()
    images, view = data.splits[split], data.view
    bit_width_BL = outputs(pair.bit_widths, images, view)
    full = classify(pair.student, images, view)
    return full, classify_quantized(pair.student, images, view, bit_width_BL), bit_width_BL


def _frozen(network: nn.Module, device: torch.device) -> nn.Module:
    """Returns a network in evaluation mode, without gradients and on a device: itself if it is so, else a copy."""
    parameters = list(network.parameters())
    if network.training or any(each.requires_grad or each.device.type != device.type for each in parameters):
        return place(copy.deepcopy(network).eval().requires_grad_(False), device)
    return network


def _accuracies(split: str, white_box: Classified, full: Classified, quantized: Classified) -> dict[str, float]:
    gap = parity_gap(accuracy_white_box=white_box.accuracy, accuracy_fp=full.accuracy)
    # Paired, since both precisions see the same images.
    lost_B = full.is_right_B.double() - quantized.is_right_B.double()
    return {
        f"{split}/accuracy_white_box": white_box.accuracy,
        f"{split}/accuracy_fp": full.accuracy,
        f"{split}/accuracy_q": quantized.accuracy,
        f"{split}/accuracy_delta": quantized.accuracy - full.accuracy,
        f"{split}/parity_gap": gap,
        f"{split}/drop_standard_error": (lost_B.std() / len(lost_B) ** 0.5).item(),
    }


def _changes(split: str, white_box: Classified, full: Classified, quantized: Classified) -> dict[str, float]:
    """Counts the images that change sides, which paired tests need beside the accuracies."""
    white_box_B, full_B, quantized_B = (each.is_right_B for each in (white_box, full, quantized))
    return {
        f"{split}/num_images": float(len(full_B)),
        f"{split}/parity_lost": (white_box_B & ~full_B).double().sum().item(),
        f"{split}/parity_gained": (full_B & ~white_box_B).double().sum().item(),
        f"{split}/drop_lost": (full_B & ~quantized_B).double().sum().item(),
        f"{split}/drop_gained": (quantized_B & ~full_B).double().sum().item(),
    }


def _result(pair: Pair, data: ImageData, white_box_seen: dict[str, Classified]) -> StageResult:
    metrics: dict[str, float] = {}
    columns: list[dict[str, Tensor]] = []
    for name, white_box in white_box_seen.items():
        full, quantized, bit_width_BL = measure(pair, data, name)
        metrics |= _accuracies(name, white_box, full, quantized) | _changes(name, white_box, full, quantized)
        columns.append(
            {
                "prediction_white_box": white_box.predictions_B,
                "prediction_fp": full.predictions_B,
                "prediction_q": quantized.predictions_B,
                "margin_fp": full.margins_B,
                "margin_q": quantized.margins_B,
                "bit_width": bit_width_BL.to(torch.int8),
            }
        )
    predictions = prediction_columns(white_box_seen.values(), columns)
    checkpoint = with_prefix(STUDENT, pair.student.model.state_dict()) | with_prefix(POLICY, pair.policy.state_dict())
    return StageResult(metrics=metrics, checkpoint=checkpoint, predictions=predictions)
