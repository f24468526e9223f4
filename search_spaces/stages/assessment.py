"""Recipes of assessments: how a network that is given is measured, as frozen values (`dptq-sweep assess`).

One network is assessed in parts, which are trials of a sweep: the network itself (full precision, 8 bits, sites,
channels, cures), and one ladder for every budget. A ladder goes from benign to hostile allocations; each of its rungs
is chosen on the validation split, or image by image, and measured on the test split.
"""

from typing import Literal

from pydantic import Field, model_validator

from search_spaces.budgets import OPTION_SETS, PlacementField, ScopeField, check_as_it_is, check_bit_widths
from search_spaces.datasets import DatasetSpec
from search_spaces.model import Frozen, later_field
from search_spaces.models import ModelSpec
from search_spaces.names import SitePlacement
from search_spaces.stages.companions import Companions
from search_spaces.stages.quantized_file import QuantizedFile

NETWORK_RUNGS = ("fp", "int8")
"""Rungs that no budget changes."""
FILE_RUNGS = ("file",)
"""The rung of a file that somebody quantized; an assessment has it only where there is one."""
NETWORK_STEPS = (*NETWORK_RUNGS, "sites", "channels", "cures")
"""What the part about the network measures, in this order."""
LADDER_RUNGS = ("uniform", "random", "best_static", "worst_static", "worst_random_per_image", "worst_per_image")
"""Rungs at every budget, from benign to hostile."""
TRAINED_RUNGS = ("policy_robust", "policy_detrimental", "pair")
"""Rungs that need training; an assessment has them only where it was asked to train."""
RUNGS = (*NETWORK_RUNGS, *FILE_RUNGS, *LADDER_RUNGS, *TRAINED_RUNGS)
"""All rungs by the names that reports, rules and `assessment.json` use."""
AVERAGE_BITS = (4.0, 5.5, 7.0)
"""Bits per site of the budgets when none is given: A, B and C of the paper on option set I."""
BATCH = 128
"""Images of a forward pass: attacks keep gradients of every site, which takes three times the memory of a plain one."""
INT8 = 8
"""Bits of every site on the rung `int8`."""
VERIFIED_PER_SCANNED = 2
"""Test images that run in ONNX Runtime, for every image that sites are measured on: 256, and 64 if it is heavy."""
Verdict = Literal["healthy", "fragile", "suspicious"]
"""*Suspicious* is a network built or trained to fail, *fragile* one that fails by nature."""
Labels = Literal["dataset", "none"]
"""What counts as right: the label of the dataset, or the answer of the network at full precision."""


class ImageSettings(Frozen):
    """How images are prepared for a network; None leaves it to whoever comes next: the network, then the dataset."""

    image_size: int | str | None = None
    """Height and width in pixels, such as 224 or `48x192`."""
    mean: str | tuple[float, ...] | None = None
    """Of red, green and blue, as shares of 255, such as `0.5,0.5,0.5`."""
    std: str | tuple[float, ...] | None = None
    """Likewise, what the differences are divided by."""
    interpolation: str | None = None
    """Filter of the resizing."""
    crop: float | None = None
    """Share of the height and width that is seen, in (0, 1]."""
    crop_mode: str | None = None
    """How an image of another shape fits."""


class Effort(Frozen):
    """How much of everything is measured: by the cost of a pass, so that an assessment takes minutes."""

    draws: int
    max_passes: int
    static_passes: int
    selection_images: int
    scanned_images: int


LIGHT = Effort(draws=20, max_passes=120, static_passes=40, selection_images=256, scanned_images=128)
HEAVY = Effort(draws=5, max_passes=12, static_passes=12, selection_images=48, scanned_images=32)
HEAVY_MACS = 3e8
"""Multiplications of a pass of one image from which on it is heavy: a ResNet18 at 224 px has six times as many."""


class NetworkFacts(Frozen):
    """What a plan needs to know of a network that is given, and of the data as this network sees it."""

    model: ModelSpec
    """With the checksum of its weights."""
    architecture: str
    """Its name for people."""
    num_sites: int
    """Quantized activations, L."""
    num_inputs: int | None = None
    """The same with sites at the inputs of layers; None where it cannot be quantized there."""
    macs: int
    """Multiplications of its convolutions and linear layers for one image."""
    dataset: DatasetSpec
    class_names: tuple[str, ...] = ()
    """Of the data, where its labels count."""
    labels: Labels = "dataset"
    """What counts as right."""
    how_labelled: str
    """One sentence on which class of the network is which class of the data."""

    def num_sites_at(self, placement: SitePlacement) -> int:
        """Returns the number of sites at outputs or inputs.

        Raises:
            ConfigError: The network is an ONNX file, and has none at inputs.
        """
        if self.num_inputs is None:
            check_as_it_is(self.model.uri, placement, None)
        return self.num_inputs or self.num_sites if placement == "inputs" else self.num_sites

    @property
    def effort(self) -> Effort:
        """What is measured unless the user says otherwise."""
        return HEAVY if self.macs >= HEAVY_MACS else LIGHT


class Ladder(Frozen):
    """The allocations of one budget."""

    budget: int = Field(ge=1)
    """Exact sum of the bit-widths over all sites of one image."""
    bit_widths: tuple[int, ...] = OPTION_SETS["I"]
    """Options at every site, in bits, ascending."""
    draws: int = Field(default=20, ge=1)
    """Draws of the rung `random`; the rung `worst_random_per_image` has the same for every image."""
    max_passes: int = Field(default=120, ge=1)
    """Most passes per image in the search of `worst_per_image`."""
    static_passes: int = Field(default=40, ge=1)
    """Most passes per image that a static allocation is chosen by."""
    selection_images: int = Field(default=256, ge=1)
    """Most images of the validation split that a static allocation is chosen on."""

    @model_validator(mode="after")
    def _check_options(self) -> "Ladder":
        check_bit_widths(self.bit_widths)
        return self


class AssessRecipe(Frozen):
    """One part of the assessment of a network: the network itself, or the ladder of one budget."""

    model: ModelSpec
    architecture: str
    """Name of the network's architecture, for people."""
    labels: Labels = "dataset"
    """What counts as right."""
    class_names: tuple[str, ...] | None = later_field()
    """Names of the network's classes in its order, where it does not say them itself; None leaves that to it."""
    scanned_images: int = Field(default=128, ge=1)
    """Most images of the validation split that sites and channels are measured on."""
    equalize: bool | None = later_field()
    """Whether links are equalized first, which undoes a rescaling; None is no."""
    weight_bit_width: int | None = Field(default=16, ge=2, le=16)
    """Symmetric bit-width of Conv2d and Linear weights in quantized passes; null leaves them."""
    sites: PlacementField = later_field()
    """Activations that are quantized: `outputs` of layers, which None is, or their `inputs`, as in runtimes."""
    range_scope: ScopeField = later_field()
    """What shares a range: an `example`, which None is, the whole `batch`, or a `channel` of an example."""
    ladder: Ladder | None = None
    """Budget of the part; null is the part about the network itself."""
    companions: Companions | None = later_field()
    """What is measured in the part about images that share a batch; ranges are over a batch there."""
    quantized_file: QuantizedFile | None = later_field()
    """A quantized file of the network, in the part about it."""

    @property
    def given(self) -> ModelSpec:
        """The network that it starts from, as of a recipe of training."""
        return self.model

    @property
    def steps(self) -> tuple[str, ...]:
        """What the part measures, in order: each is one report of its trial."""
        if of_its_own := self.companions or self.quantized_file:
            return of_its_own.measured
        return LADDER_RUNGS if self.ladder else NETWORK_STEPS

    @property
    def is_about_network(self) -> bool:
        """Whether the part is about the network itself."""
        return self.ladder is None and self.companions is None and self.quantized_file is None

    @property
    def verified_images(self) -> int:
        """Most test images that the network runs in ONNX Runtime."""
        return VERIFIED_PER_SCANNED * self.scanned_images

    @property
    def epochs(self) -> int:
        """Number of the steps: what epochs are to a training."""
        return len(self.steps)

    @property
    def part(self) -> str:
        """Name of the part within the assessment, e.g. `network`, `60b`, `companions` or `file`."""
        if self.companions:
            return "companions"
        if self.quantized_file:
            return "file"
        return f"{self.ladder.budget}b" if self.ladder else "network"
