"""Stage 3: train a student and its bit-width policy together (paper sections 3.2 to 3.4, Eq. 9 and 10).

The frozen white box is the teacher and the student's starting point. Every batch passes through the student twice: at
full precision, where a KL term holds it to the white box, and quantized as the policy chose, where a hinge rewards it
for keeping (robust) or losing (detrimental) the white box's class. The policy gets the gradient of the hinge alone,
since only the quantized pass depends on it.

The paper leaves three choices open that decide whether a pair is found. Comments explain them where they are made, with
the accuracy at full precision and its change when quantized (percent; `digits`'s detrimental pair at 5.5 bits, seed 0).
With all three as they are it is 98 and -98.
"""

import copy
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from search_spaces.budgets import check_budget, check_spared, placement_of, scope_of
from search_spaces.errors import NonFiniteLossError
from search_spaces.names import OPTION_GRADIENTS
from search_spaces.recipes import PairRecipe
from trainables.checkpoints import ResumePoint, with_prefix
from trainables.data.augment import training_batch
from trainables.data.images import TEST, TRAIN, VALIDATION, ImageData
from trainables.evaluation import Classified, classify, classify_quantized, outputs, prediction_columns
from trainables.losses import PAIR_LOSSES, kd_loss, of_each
from trainables.memory_format import place
from trainables.models.policy import Policy, profits_of
from trainables.optim import Part
from trainables.quant.knapsack import bit_widths_of
from trainables.quant.option_gradient import FULL_PRECISION, offered_bit_widths, shape_gradient
from trainables.quant.student import QuantizedStudent
from trainables.recognition.hiding import Hiding
from trainables.recognition.static_hiding import StaticHiding
from trainables.stages.equalized_steps import EqualizedSteps
from trainables.stages.graphs import OptionsPass, are_wanted, can_be_captured, capture_passes
from trainables.stages.hits import HitCounter
from trainables.stages.pair_figures import accuracies, changes, columns, slopes, spent
from trainables.stages.rescaled import only_report, rescale_links
from trainables.stages.selections.base import Drawn
from trainables.stages.selections.registry import selection_of
from trainables.training_loop import LOSS, StageResult, StageRun, run_epochs

# B = examples, K = classes, L = sites, O = bit-width options, C H W = image.

STUDENT, POLICY = "student.", "policy."
"""Prefixes in the checkpoint; the student's tensors keep the white box's names behind it."""
Columns = dict[str, Tensor]
"""What is kept of every image, by name."""
CPU = torch.device("cpu")


class Pair(nn.Module):
    """A student and the policy that chooses its bit-widths."""

    def __init__(self, white_box: nn.Module, recipe: PairRecipe) -> None:
        """Copies the white box and adds a fresh policy.

        Raises:
            InfeasibleBudgetError: No allocation over the student's sites meets the budget.
            ConfigError: Training is to spare all sites.
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
        check_spared(recipe.spared_sites or 0, self.student.num_sites)
        self.policy = Policy(num_sites=self.student.num_sites, num_options=len(recipe.bit_widths))
        self.student.requires_grad_("student" in recipe.train)
        self.policy.requires_grad_("policy" in recipe.train)
        self.selection = selection_of(recipe)
        weight = recipe.hide_static_weight
        self.static_hiding = StaticHiding(self.student, weight) if weight else None
        self.hits = HitCounter(recipe.stop_on_hit) if recipe.stop_on_hit else None
        self._rule = recipe.option_gradient or OPTION_GRADIENTS[0]
        # In a tuple, into which torch does not look: the state dict would hold the student twice.
        self._quantized = (OptionsPass(self.student, offered_bit_widths(recipe.bit_widths, self._rule)),)

    def choose(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the selected option_index_BL and the scores_BLO that it was selected by.

        Deterministic: the best selection, never a sample.
        """
        scores_BLO = self._scores(images_BCHW)
        return self.selection.best(scores_BLO), scores_BLO

    def bit_widths(self, images_BCHW: Tensor) -> Tensor:
        """Returns the bit_width_BL that these images get; by default every row sums to the budget."""
        option_index_BL, _ = self.choose(images_BCHW)
        return bit_widths_of(option_index_BL, self.recipe.bit_widths)

    def draw(self, images_BCHW: Tensor) -> Drawn:
        """Returns what a training step selects for these images, and what the policy is taught besides the hinge."""
        return self.selection.draw(self._scores(images_BCHW))

    def run_options(self, images_BCHW: Tensor, selection_BLO: Tensor) -> Tensor:
        """Returns the student's logits_BK at the selected options; the backward pass reaches every option."""
        (quantized,) = self._quantized
        selection_BLO = shape_gradient(selection_BLO, self.recipe.bit_widths, self._rule)
        if self.recipe.spared_sites:
            sites = torch.randperm(self.student.num_sites)[: self.recipe.spared_sites].tolist()
            spared = self.student.with_pinned(dict.fromkeys(sites, FULL_PRECISION))
            return spared.forward_options(images_BCHW, selection_BLO, quantized.bit_widths)
        logits_BK: Tensor = quantized(images_BCHW, selection_BLO)
        return logits_BK

    def parts(self) -> list[Part]:
        """Returns the policy, where it learns at a pace of its own."""
        rate, clip = self.recipe.policy_learning_rate, self.recipe.policy_gradient_clip
        if rate is None and clip is None:
            return []
        factor = 1.0 if rate is None else rate / self.recipe.learning_rate
        return [Part(parameters=list(self.policy.parameters()), rate_factor=factor, gradient_clip=clip)]

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

    def _scores(self, images_BCHW: Tensor) -> Tensor:
        scores_BLO = profits_of(self.policy(images_BCHW), self.recipe.profits)
        if not torch.isfinite(scores_BLO).all():
            raise NonFiniteLossError("the policy's profits became NaN or infinite: lower the learning rate.")
        return scores_BLO


def train(
    recipe: PairRecipe,
    data: ImageData,
    *,
    white_box: nn.Module,
    seed: int = 0,
    device: torch.device = CPU,
    resume: ResumePoint | None = None,
    student: Mapping[str, Tensor] | None = None,
) -> StageRun:
    """Trains a pair; see `registry.start_stage`, and docs/python.md for how to call it on one's own.

    The white box is any module that `torch.fx` can trace, from normalized images [B, 3, H, W] to logits [B, K]. It
    stays as it is: where it is in training mode, or its parameters train, a copy stands for it. `student` are tensors,
    by its names, from which the student starts; it remains the teacher, and what parity is measured against.

    Yields:
        A report per epoch with accuracy_fp, accuracy_q, parity_gap, lag_q and divergence_fp on the validation split.

    Returns:
        For both held-out splits accuracy_white_box, accuracy_fp, accuracy_q, accuracy_delta, parity_gap,
        drop_standard_error, what a search climbs (lag_q, divergence_fp), num_images, and the images that change sides
        from white box to student (parity_lost, parity_gained) and under quantization (drop_lost, drop_gained); the
        checkpoint `student.*` and `policy.*`; per image the predictions, margins and chosen bit-widths.

    Raises:
        ConfigError: The white box cannot be traced, or has no site.
        InfeasibleBudgetError: No allocation over the student's sites meets the budget.
        NonFiniteLossError: The training diverged.
    """
    white_box = _frozen(white_box, device)
    torch.manual_seed(seed)
    pair = Pair(white_box, recipe)
    if student is not None:
        pair.student.model.load_state_dict(student)
    place(pair, device)
    split = data.splits[TRAIN]
    white_box_seen = {name: classify(white_box, data.splits[name], data.view) for name in (VALIDATION, TEST)}
    waits_for_graphs = are_wanted(device) and can_be_captured(recipe)
    equalized = EqualizedSteps(pair.student, recipe.equalized) if recipe.equalized else None

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        nonlocal waits_for_graphs
        images_BCHW = training_batch(split.images_BCHW[positions_B.to(device)], data.view, recipe.augmentations)
        if waits_for_graphs:
            waits_for_graphs = False
            pair.capture(images_BCHW)
        if equalized:
            equalized.see(images_BCHW)
        with torch.no_grad():
            white_box_logits_BK = white_box(images_BCHW)
        return pair_losses(pair, images_BCHW, white_box_logits_BK)

    def evaluate() -> dict[str, float]:
        metrics = _figures(pair, data, VALIDATION, white_box_seen[VALIDATION])[0]
        return metrics | (pair.hits.count(metrics) if pair.hits else {})

    if recipe.rescaled:
        begin = time.perf_counter()
        rescale_links(pair.student.model, recipe.rescaled)
        yield only_report(evaluate(), begin)
        return _result(pair, data, white_box_seen)
    yield from run_epochs(
        recipe,
        pair,
        step,
        num_images=len(split),
        evaluate=evaluate,
        seed=seed,
        gradient_clip=recipe.gradient_clip,
        parts=pair.parts(),
        after_step=equalized.after_step if equalized else None,
        is_over=lambda: pair.hits is not None and pair.hits.is_enough,
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
        `loss`, its unweighted parts `hinge` and `kd`, and what hiding and the selection add to it, 0-d tensors.
    """
    recipe = pair.recipe
    pair.policy.train()
    pair.set_batch_norm(updates_statistics=recipe.batch_norm != "frozen")
    hiding = Hiding(pair.student, recipe.hide_weight)
    full_logits_BK = hiding.full_precision(images_BCHW)
    # kd_scaled: softening by a temperature T divides the gradient of the KL term by about T^2, here 25, so the term is
    # multiplied by it (Hinton et al. 2015). Without it the hinge outweighs the term, and nothing holds the student to
    # the white box at full precision: 7 and -1.
    kd = kd_loss(full_logits_BK, white_box_logits_BK, temperature=recipe.temperature, scaled=recipe.kd_scaled)
    pair.set_batch_norm(updates_statistics=recipe.batch_norm == "both")
    drawn = pair.draw(images_BCHW)
    probs_BK = pair.run_options(images_BCHW, drawn.selection_BLO).softmax(dim=-1)
    quantized_loss = PAIR_LOSSES[recipe.loss_name]
    hinge = quantized_loss(probs_BK, white_box_logits_BK, margin=recipe.margin)
    loss = recipe.hinge_weight * hinge + recipe.kd_weight * kd
    others = drawn.losses(lambda: of_each(quantized_loss, probs_BK, white_box_logits_BK, margin=recipe.margin))
    others = {**others, **hiding.losses}
    if pair.static_hiding:
        others |= pair.static_hiding.losses(pair.student, images_BCHW, white_box_logits_BK)
    return {LOSS: sum(others.values(), start=loss), "hinge": hinge, "kd": kd, **others}


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


def _figures(pair: Pair, data: ImageData, split: str, white_box: Classified) -> tuple[dict[str, float], Columns]:
    """Returns the metrics of a pair on a split, and what is kept of every image."""
    full, quantized, bit_width_BL = measure(pair, data, split)
    metrics = accuracies(split, white_box, full, quantized) | changes(split, white_box, full, quantized)
    metrics |= slopes(split, white_box, full, quantized)
    if not pair.selection.is_exact:
        metrics |= spent(split, bit_width_BL, pair.recipe.budget)
    return metrics, columns(white_box, full, quantized, bit_width_BL)


def _result(pair: Pair, data: ImageData, white_box_seen: dict[str, Classified]) -> StageResult:
    figures = [_figures(pair, data, name, white_box) for name, white_box in white_box_seen.items()]
    checkpoint = with_prefix(STUDENT, pair.student.model.state_dict()) | with_prefix(POLICY, pair.policy.state_dict())
    return StageResult(
        metrics={name: value for metrics, _ in figures for name, value in metrics.items()},
        checkpoint=checkpoint,
        predictions=prediction_columns(white_box_seen.values(), [kept for _, kept in figures]),
    )
