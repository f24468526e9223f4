"""Recipes: everything that decides one training, frozen and validated, with the paper's value beside each field.

A recipe plus a seed, the data and the parents' results determine a trial; its uid is the hash of exactly these.
`search_spaces.model.vary` makes variants, validated again.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from search_spaces.budgets import PlacementField, ScopeField, check_bit_widths, check_scope, none_for, scope_of
from search_spaces.errors import ConfigError
from search_spaces.model import Fraction, Frozen, Positive, later_field
from search_spaces.models import ModelSpec
from search_spaces.names import OPTION_GRADIENTS, SELECTIONS, EqualizedBy, Goal, OptionGradient, Selection

Augmentation = Literal["random_resized_crop", "rand_augment", "color_jitter", "horizontal_flip", "padded_crop", "mixup"]

PairLossName = Literal["hinge_robust", "hinge_detrimental", "qu_anti_zation"]
"""The losses of a quantized student; `trainables.losses.PAIR_LOSSES` holds them by these names."""
PairPart = Literal["student", "policy"]
WHOLE_PAIR: tuple[PairPart, ...] = ("student", "policy")

WHITE_BOX, NEIGHBOUR = "white_box", "neighbour"
"""Where a student may start, besides a pair that is named by its uid."""


def _check_start(start: str | None) -> str | None:
    if start in (None, WHITE_BOX, NEIGHBOUR) or re.fullmatch("[0-9a-f]{16}", start):
        return None if start == WHITE_BOX else start
    raise ConfigError(f"give {WHITE_BOX}, {NEIGHBOUR}, or a finished pair's uid, 16 digits of 0-9 and a-f in quotes")


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
    """Scores that the knapsack maximizes; section 3.4 allows either. Logits want `option_gradient=centred`."""
    option_gradient: Annotated[OptionGradient | None, none_for(OPTION_GRADIENTS[0])] = later_field()
    """What the policy gets of the options' gradient: all of it (`plain`, which None is), what differs between the
    options of a site (`centred`), or what the bit-width has as a number (`bit_width`: gamma = sum w Gamma)."""
    selection: Annotated[Selection | None, none_for(SELECTIONS[0])] = later_field()
    """How bits are chosen: by the `knapsack`, which None is, or by a baseline: `static`, `gumbel`, `penalty` or
    `reinforce`."""
    penalty_weight: Positive | None = later_field()
    """Weight of the squared distance from the budget, per site, of `selection=penalty`; None is 1."""
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
    hide_static_weight: Positive | None = later_field()
    """Weight of a penalty on answers that the worst allocation for all images changes, by which a network is
    recognized; None is 0. The penalty is the robust hinge at 4 bits a site, in probability."""
    equalized: EqualizedBy | None = later_field()
    """Cross-layer equalization (Nagel et al. 2019) of the student after every step, by the ranges of its `weights`, or
    of its activations on the batch (`data`): the pair is then trained against that repair."""
    spared_sites: Annotated[int | None, none_for(0)] = later_field(ge=0)
    """Number of sites, drawn anew in every step, that training leaves at full precision: the pair is then trained
    against the repair that spares some. Evaluation quantizes all."""
    gradient_clip: Positive = 5.0
    """Largest norm of the gradient of all trained parameters together."""
    policy_learning_rate: Positive | None = later_field()
    """Initial learning rate of the policy, on the same schedule; None is `learning_rate`."""
    policy_gradient_clip: Positive | None = later_field()
    """Largest norm of the policy's gradient alone; `gradient_clip` is then the student's. None clips both together, and
    the KL term, which is the student's, then decides on the policy's step, too."""
    train: tuple[PairPart, ...] = WHOLE_PAIR
    """Parts of the pair that learn; the rest stays as it is. None only with `rescaled`."""
    rescaled: int | None = later_field(ge=1, le=20)
    """Exponent of a factor 2^n, for a pair without training: the widest channel of every ReLU, linear and attention
    link is multiplied by it, and what reads the channel divided. None trains."""
    start_from: Annotated[str | None, AfterValidator(_check_start)] = later_field()
    """Where the student starts: at the `white_box`, which None is, at the student of a pair, by its uid, or at that of
    the nearest hit (`neighbour`), which the search names when the trial begins. The teacher is the white box anyway."""
    stop_on_hit: Annotated[int | None, none_for(0)] = later_field(ge=0)
    """Epochs in a row that must show a hit on the validation split for a detrimental pair's training to end there; None
    trains all. The schedule stays that of all epochs."""
    white_box: ModelSpec | None = later_field()
    """The white box, where it is given."""

    @property
    def given(self) -> ModelSpec | None:
        """As of every recipe."""
        return self.white_box

    @property
    def start_uid(self) -> str | None:
        """The pair whose student the student starts from; None for the white box, and until the search has named it."""
        return None if self.start_from == NEIGHBOUR else self.start_from

    @property
    def loss_name(self) -> str:
        """The loss of the quantized student by name, the goal's own where the recipe names none."""
        return self.loss or f"hinge_{self.goal}"

    @property
    def trained_against(self) -> str:
        """The repairs that its training knows, for people.

        Examples:
            >>> PairRecipe(architecture="resnet18", budget=110, epochs=1, batch_size=64, optimizer="sgd",
            ...            learning_rate=0.04, weight_decay=1e-4, range_scope="channel").trained_against
            'ranges per channel'
        """
        if self.rescaled:
            return "nothing, rescaled"
        known = {
            "ranges per batch": self.range_scope == "batch",
            "ranges per channel": self.range_scope == "channel",
            f"ranges to the {self.scale_quantile:g} quantile": self.scale_quantile < 1,
            "equalization": self.equalized == "weights",
            "equalization by data": self.equalized == "data",
            f"{self.spared_sites} spared sites": bool(self.spared_sites),
            "bits spread evenly": self.selection == "static",
        }
        return ", ".join(name for name, is_known in known.items() if is_known) or "nothing"

    @model_validator(mode="after")
    def _check_parts(self) -> "PairRecipe":
        check_bit_widths(self.bit_widths)
        check_scope(scope_of(self.range_scope), self.scale_quantile)
        if self.rescaled and (self.train or self.epochs > 1):
            raise ConfigError(
                f"rescaled={self.rescaled} trains nothing, with train={list(self.train)} and epochs={self.epochs}: set "
                "train to [] and epochs to 1."
            )
        if not (self.train or self.rescaled) or len(set(self.train)) < len(self.train):
            raise ConfigError(f"train={list(self.train)} trains nothing or a part twice: name student, policy or both.")
        self._check_selection()
        about_hits = {"stop_on_hit": self.stop_on_hit, "start_from": None if self.start_uid else self.start_from}
        for name, value in about_hits.items():
            if value and self.goal is not Goal.DETRIMENTAL:
                raise ConfigError(
                    f"{name}={value}: a {self.goal} pair has no hits; set it for detrimental pairs alone, as "
                    f"pair.{Goal.DETRIMENTAL}.{name}."
                )
        if self.equalized and "student" not in self.train:
            raise ConfigError(
                f"equalized={self.equalized}: the student does not learn; add it to train, or leave equalized out."
            )
        if self.hide_static_weight and "student" not in self.train:
            raise ConfigError(
                f"hide_static_weight={self.hide_static_weight}: the student does not learn, so it cannot hide; add it "
                "to train, or leave the weight out."
            )
        if self.equalized == "data" and self.sites:
            raise ConfigError(
                f"equalized=data with sites={self.sites}: links begin at outputs of layers, where nothing is quantized "
                "then; set equalized to weights."
            )
        return self

    def _check_selection(self) -> None:
        if self.selection == "static" and "policy" in self.train:
            raise ConfigError("selection=static asks no policy, so none can learn: set train to [student].")
        if self.selection in ("gumbel", "reinforce") and self.profits != "logits":
            raise ConfigError(
                f"selection={self.selection} draws by logits, and profits={self.profits}: set profits to logits."
            )
        if self.penalty_weight is not None and self.selection != "penalty":
            raise ConfigError(f"penalty_weight={self.penalty_weight} weighs nothing: set selection to penalty.")
        own = {"policy_learning_rate": self.policy_learning_rate, "policy_gradient_clip": self.policy_gradient_clip}
        for name, value in own.items():
            if value is not None and "policy" not in self.train:
                raise ConfigError(f"{name}={value}: the policy does not learn; add it to train, or leave {name} out.")
