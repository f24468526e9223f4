"""`assessment.json`: what an assessment found, as values that other tools rely on.

The names are part of the program's interface; `schema()` is published as docs/assessment.schema.json. Shares and
differences are fractions.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from search_spaces.names import RangeScope, SitePlacement
from search_spaces.stages.assessment import Verdict

RungName = Literal[
    "fp",
    "int8",
    "file",
    "uniform",
    "random",
    "best_static",
    "worst_static",
    "worst_random_per_image",
    "worst_per_image",
    "policy_robust",
    "policy_detrimental",
    "pair",
]
RuntimeVerdict = Literal["neither", "format", "runtime"]
Outcome = Literal["pass", "fail", "not shown"]
"""Of a rule: a fail is shown where the whole interval of a figure is beyond the bound, a pass where none of it is."""
Share = float


class _Part(BaseModel):
    """Base: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Model(_Part):
    """The network."""

    uri: str
    """Where it came from; empty for a network that a program handed over."""
    sha256: str
    """Checksum of its weights, in hex."""
    architecture: str


class Rung(_Part):
    """What one kind of allocation costs at one budget, on the test images."""

    rung: RungName
    budget: int | None
    """Sum of the bit-widths over all sites of an image; null at full precision and of the rung `file`."""
    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share
    """Ends of Wilson's 95 % interval."""
    drop: float
    """Accuracy at full precision minus accuracy of the rung; of the rung `pair`, that of the fine-tuned network."""
    drop_low: float
    drop_high: float
    """Ends of the paired 95 % interval (score interval of Tango 1998)."""
    flips: Share
    """Share of the images that get another class than at full precision."""
    flips_low: Share
    flips_high: Share
    flips_low_margin: Share
    """The same among the tenth of the images of which the full-precision network is least sure."""
    flips_low_margin_low: Share
    flips_low_margin_high: Share
    worst_class: str
    """Name of the class that lost most."""
    worst_class_drop: float
    worst_class_drop_low: float
    worst_class_drop_high: float
    largest_class_share: Share
    """Share of the images that get the class which is predicted most: 1 where one answer is left."""
    class_shares: dict[str, Share] = Field(default_factory=dict)
    """Share of the images that gets each class, by its name; classes without any are left out."""
    draws: int = 1
    """Allocations drawn; figures are those of the draw with the median accuracy."""
    worst_draw_accuracy: Share | None = None
    """Lowest accuracy of a draw, where there are several."""
    passes_per_image: float = 0.0
    """Forward passes that choosing the allocation took, per image that it was chosen on."""
    parity_gap: float | None = None
    """Accuracy at full precision of the network minus that of the fine-tuned one; null where nothing was fine-tuned."""


class MissingRung(_Part):
    """A rung that was asked for and that is not there."""

    rung: RungName
    budget: int
    reason: str
    """State of its training, with the error of one that failed."""


class RuntimeRun(_Part):
    """One way in which a rung ran, on the images that ran in ONNX Runtime."""

    accuracy: Share
    drop: float
    """Accuracy at full precision on these images minus that of the run."""
    drop_low: float
    drop_high: float
    """Ends of the paired 95 % interval (Newcombe 1998, method 10)."""
    disagreements: int
    """Images that get another class than in the simulation."""


class RuntimeRung(_Part):
    """A rung in ONNX Runtime: the network at 8 bits, or what was trained for it at the bits of its policy."""

    rung: RungName
    budget: int
    verdict: RuntimeVerdict | None
    """What breaks it: its quantization as such, this runtime alone, or neither; null where it cannot be run."""
    reason: str
    """One sentence on the verdict, or why there is none."""
    num_images: int = 0
    """The first test images."""
    accuracy_fp: Share | None = None
    simulated: RuntimeRun | None = None
    exported: RuntimeRun | None = None
    """The exported file in ONNX Runtime, at the bits of the simulation."""
    int8: RuntimeRun | None = None
    """ONNX Runtime's own dynamic int8, one image per run."""
    torchao: RuntimeRun | None = None
    """torchao's dynamic int8 of Linear layers, where it is installed."""
    disagreements: int | None = None
    """Images that the exported file classifies otherwise than the simulation."""
    nodes: tuple[str, ...] = ()
    """Nodes that break it in ONNX Runtime's int8, where the verdict is `runtime`."""
    processor: str = ""


class Suspect(_Part):
    """A channel that carries the range of its site, where no training would have put one."""

    site: str
    channel: int
    ratio: float
    """Largest value of the channel over that of the next one, or of the median one: what speaks against it most."""
    link: str = ""
    """Layers between which a factor can be moved without changing any answer."""


class MitigatedRung(_Part):
    """What one kind of allocation costs without and with a mitigation, on the same test images.

    The worst allocations are searched again with the mitigation. Sites that it pins are no part of the budget.
    """

    rung: Literal["uniform", "worst_static", "worst_per_image"]
    budget: int
    """Sum of the bit-widths over the sites that the mitigation leaves free."""
    num_images: int
    accuracy: Share
    """With the mitigation."""
    drop_before: float
    """Accuracy at full precision minus accuracy of the rung, without the mitigation."""
    drop_before_low: float
    drop_before_high: float
    drop: float
    """The same with the mitigation, from the accuracy at full precision without it."""
    drop_low: float
    drop_high: float
    """Ends of the paired 95 % interval (score interval of Tango 1998)."""


class Mitigation(_Part):
    """A repair of a network that fails, measured again."""

    name: str
    kind: Literal["sites", "channel_ranges", "quantile_ranges", "equalization"]
    full_precision: Share
    """Accuracy of the repaired network at full precision."""
    rungs: tuple[MitigatedRung, ...]


class RevertedNodes(_Part):
    """Nodes of a quantized file that were put back to full precision alone."""

    nodes: tuple[str, ...]
    """One with weights, or all that make or read one quantized activation."""
    accuracy: Share
    """With these nodes at full precision."""
    largest_difference: float
    """Of the logits from those at full precision."""


class QuantizedFile(_Part):
    """A file that somebody quantized, beside its reference, which is the network; its figures are the rung `file`."""

    uri: str
    sha256: str
    """Checksum of its graph and weights, in hex."""
    kind: Literal["dynamic", "QDQ", "QOperator"]
    """Ranges found when it runs, pairs of QuantizeLinear and DequantizeLinear, or operators on codes."""
    images_per_run: int
    """Images that share a dynamic range: as many as the file demands, or else one."""
    num_layers: int
    """Nodes with quantized weights."""
    largest_drop: float
    """Drop that it may have."""
    is_failing: bool
    """Whether more than that is shown."""
    nodes_to_exclude: tuple[str, ...]
    """Nodes by the names that `nodes_to_exclude` of ONNX Runtime's quantizer takes; none where it does not fail."""
    is_enough: bool | None = None
    """Whether the drop is small enough with these nodes at full precision; null where none was put back."""
    accuracy_excluded: Share | None = None
    """With these nodes at full precision, measured on the same images as the rung."""
    drop_excluded: float | None = None
    drop_excluded_low: float | None = None
    drop_excluded_high: float | None = None
    """Ends of the paired 95 % interval (Newcombe 1998, method 10)."""
    flips_excluded: Share | None = None
    reverted: tuple[RevertedNodes, ...] = ()
    """What nodes give back alone, on images of the validation split, those that give most first."""
    num_images_reverted: int
    """How many images these were."""
    unmatched: tuple[str, ...] = ()
    """Quantized layers that the reference has not, by the names of tensors; they cannot be put back."""
    num_unnamed: int = 0
    """Quantized nodes without a name, which no list can hold."""
    processor: str
    has_vnni: bool
    """Whether the processor sums products of uint8 and int8 without saturation; others may answer otherwise."""


class GateResult(_Part):
    """A rule of `--fail-if` and what became of it."""

    rule: str
    outcome: Outcome
    reason: str = ""
    """The figure that decided, with its interval."""


class Assessment(_Part):
    """Everything that an assessment found."""

    model: Model
    num_images: int
    """Images that everything was measured on."""
    num_sites: int
    """Quantized activations, L."""
    labels: Literal["dataset", "none"] = "dataset"
    """Whether accuracy counts the labels of the dataset, or agreement with the network at full precision."""
    sites: SitePlacement = "outputs"
    """Activations that were quantized: outputs of layers, or inputs of layers."""
    range_scope: RangeScope = "example"
    """What shared a range: an image, all images of a batch (128, in the order of the test split), or a channel."""
    rungs: tuple[Rung, ...]
    """From benign to hostile, budgets ascending."""
    missing: tuple[MissingRung, ...] = ()
    """Rungs whose training failed or is not done."""
    runtime: tuple[RuntimeRung, ...] = ()
    """What the network, and what was trained for it, answers in ONNX Runtime."""
    suspects: tuple[Suspect, ...]
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why the verdict is what it is, one sentence each."""
    mitigations: tuple[Mitigation, ...] = ()
    """What repairs it, where it fails."""
    quantized_file: QuantizedFile | None = None
    """A file that was made from the network; null where none was given."""
    gate: tuple[GateResult, ...] = ()

    def rung(self, name: str, budget: int | None = None) -> Rung:
        """Returns a rung by its name; of several budgets the given one, or else the first.

        Raises:
            KeyError: There is no such rung.
        """
        for rung in self.rungs:
            if rung.rung == name and budget in (None, rung.budget):
                return rung
        raise KeyError(f"no rung {name} at budget {budget}: there are {sorted({each.rung for each in self.rungs})}")

    def as_json(self) -> str:
        """Returns the content of `assessment.json`."""
        return self.model_dump_json(indent=2) + "\n"


def schema() -> dict[str, Any]:
    """Returns the JSON schema of `assessment.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Assessment.model_json_schema(
        mode="serialization"
    )
