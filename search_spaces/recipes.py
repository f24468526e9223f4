"""Recipes: everything that decides one training, frozen and validated, with the paper's value beside each field.

A recipe plus a seed, the data and the parents' results determine a trial; its uid is the hash of exactly these.
`search_spaces.model.vary` makes variants, validated again.
"""

from typing import Literal

from pydantic import Field, model_validator

from search_spaces.budgets import PlacementField, ScopeField, check_bit_widths, check_scope, scope_of
from search_spaces.errors import ConfigError
from search_spaces.model import Fraction, Frozen, Positive, later_field
from search_spaces.models import ModelSpec
from search_spaces.names import Goal

Augmentation = Literal["random_resized_crop", "rand_augment", "color_jitter", "horizontal_flip", "padded_crop", "mixup"]

PairLossName = Literal["hinge_robust", "hinge_detrimental"]
"""The losses of a quantized student; `trainables.losses.PAIR_LOSSES` holds them by these names."""
PairPart = Literal["student", "policy"]
WHOLE_PAIR: tuple[PairPart, ...] = ("student", "policy")


class TrainingRecipe(Frozen):
    """What the three training stages share."""

    epochs: int = Field(ge=1)
    """Passes over the training split."""
    batch_size: int = Field(ge=2)
    """Images per step. The last, smaller batch of an epoch is dropped."""
    optimizer: Literal["adamw", "sgd"]
    """Optimizer, SGD with momentum; paper: AdamW for the teacher, SGD for the rest."""
    learning_rate: Positive
    """Initial rate of the half-period cosine schedule, which is stepped per batch."""
    final_learning_rate: float = Field(default=0.0, ge=0)
    """Learning rate at the last step of the schedule."""
    momentum: Fraction = 0.9
    """Momentum of SGD; AdamW keeps its usual betas (0.9, 0.999)."""
    weight_decay: float = Field(ge=0)
    """Weight decay, decoupled for AdamW and added to the gradient for SGD."""
    augmentations: tuple[Augmentation, ...] = ()
    """Augmentations of every training image, in the order of their application; mixup last, on the batch."""
    architecture: str
    """timm name of the trained network; a pair's is that of its white box."""

    @property
    def given(self) -> ModelSpec | None:
        """The network that it starts from, where that is given; otherwise an earlier trial trains it."""
        return None


class TeacherRecipe(TrainingRecipe):
    """Stage 1: fine-tune the black box on the labels (paper section 4, Training Details)."""

    weights: str = Field(default="imagenet", min_length=1)
    """Initial weights: `imagenet` (timm's pretrained ones), `scratch`, or the path of a file of weights."""
    label_smoothing: Fraction = 0.1
    """Coefficient of the smoothed cross entropy; paper: 0.1."""


class DistillRecipe(TrainingRecipe):
    """Stage 2: distil the black box into a white box of known weights (paper section 3.1)."""

    temperature: Positive = 5.0
    """Divisor of the logits of teacher and student before the softmax; paper: 5."""
    kd_scaled: bool = True
    """Whether the KL divergence is multiplied by temperature^2 (Hinton et al. 2015). The paper's Eq. 3 does not."""
    black_box: ModelSpec | None = later_field()
    """The teacher, where it is given."""

    @property
    def given(self) -> ModelSpec | None:
        """As of every recipe."""
        return self.black_box


class PairRecipe(TrainingRecipe):
    """Stage 3: train a student and its bit-width policy together (paper sections 3.2 to 3.4)."""

    goal: Goal = Goal.ROBUST
    """Wanted effect of quantization on the student: none (robust), or failure (detrimental)."""
    loss: PairLossName | None = later_field()
    """Loss of the quantized student; null: the goal's hinge, Eq. 7 (robust) or Eq. 8 (detrimental)."""
    bit_widths: tuple[int, ...] = tuple(range(3, 11))
    """Options of the policy at every site, in bits, ascending."""
    budget: int = Field(ge=1)
    """Exact sum of the bit-widths over all sites of one image."""
    hinge_weight: Positive = 1.0
    """Weight of the quantized student's loss, alpha of Eq. 9 and 10; paper: 1."""
    kd_weight: Positive = 1.0
    """Weight of the full-precision student's KL term, beta of Eq. 9 and 10; paper: 1."""
    margin: float = Field(default=0.01, ge=0, lt=1)
    """Lead that the hinge asks for, in probability: delta of Eq. 7 and 8; paper: 0.01."""
    temperature: Positive = 5.0
    """Divisor of both logits in the full-precision student's KL term; paper: 5."""
    kd_scaled: bool = True
    """Whether the KL term is multiplied by temperature^2; otherwise the hinge outweighs it."""
    batch_norm: Literal["frozen", "fp_pass", "both"] = "frozen"
    """Passes that update the running statistics; the paper does not say. Affine parameters always train."""
    profits: Literal["softmax", "logits"] = "softmax"
    """Scores that the knapsack maximizes; section 3.4 allows either. With logits short recipes did not drop."""
    range_gradient: bool = True
    """Whether the gradient reaches the extremes that set the scale; with it short recipes drop sooner."""
    weight_bit_width: int | None = Field(default=16, ge=2, le=16)
    """Symmetric bit-width of Conv2d and Linear weights in the quantized pass; null leaves them. Paper: 16."""
    scale_quantile: float = Field(default=1.0, gt=0.5, le=1)
    """Quantile at which the range of an activation ends; 1, as in the paper, is its extremes."""
    sites: PlacementField = later_field()
    """Activations that are quantized: `outputs` of layers, which None is and the paper's budgets imply, or `inputs` of
    layers, as in runtimes, of which there are others, so that a budget is another one."""
    range_scope: ScopeField = later_field()
    """What shares a range: an `example`, which None is, the whole `batch`, or a `channel` of an example."""
    hide_weight: Positive | None = later_field()
    """Weight of a penalty on channels that stand out of their site at full precision, by which a network is recognized;
    None is 0. The penalty is in bits, a mean over the sites."""
    gradient_clip: Positive = 5.0
    """Largest norm of the gradient of all trained parameters together."""
    train: tuple[PairPart, ...] = WHOLE_PAIR
    """Parts of the pair that learn; the rest stays as it is."""
    white_box: ModelSpec | None = later_field()
    """The white box, where it is given."""

    @property
    def given(self) -> ModelSpec | None:
        """As of every recipe."""
        return self.white_box

    @property
    def loss_name(self) -> str:
        """The loss of the quantized student by name, the goal's own where the recipe names none."""
        return self.loss or f"hinge_{self.goal}"

    @model_validator(mode="after")
    def _check_parts(self) -> "PairRecipe":
        check_bit_widths(self.bit_widths)
        check_scope(scope_of(self.range_scope), self.scale_quantile)
        if not self.train or len(set(self.train)) < len(self.train):
            raise ConfigError(f"train={list(self.train)} trains nothing or a part twice: name student, policy or both.")
        return self
