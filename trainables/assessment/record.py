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
    """Sum of the bit-widths over all sites of an image; null at full precision."""
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
    suspects: tuple[Suspect, ...]
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why the verdict is what it is, one sentence each."""
    mitigations: tuple[Mitigation, ...] = ()
    """What repairs it, where it fails."""
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
