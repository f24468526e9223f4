"""Analyses: what is measured of trained pairs, as frozen settings (paper sections 4.1 to 4.3).

Every analysis yields one tidy table; its columns are documented at the function of the same name in
`trainables/analyses/`. Settings and the uids of the pairs decide a table, so they make its uid.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt, model_validator

from search_spaces.errors import ConfigError, unknown_name
from search_spaces.files.yaml_files import yaml_value
from search_spaces.model import Frozen, check_seed, parse


class Analysis(Frozen):
    """Base of all analyses."""

    name: ClassVar[str]
    """Of the command line, the store and the module in `trainables.analyses`."""
    title: ClassVar[str]
    """For people."""
    needs_both: ClassVar[bool] = False
    """Whether it compares the robust with the detrimental pair of one budget; otherwise it looks at one pair."""
    every_trial: ClassVar[bool] = False
    """Whether it runs on every finished pair of a sweep, and not only on those that stand for their cells."""
    keys: ClassVar[tuple[str, ...]] = ()
    """Columns of its table that tell what is measured, e.g. network and policy."""
    step: ClassVar[str | None] = None
    """Column that counts along, e.g. the site: the horizontal axis of its curves."""


class CrossPolicy(Analysis):
    """Every network under every policy (Table 3)."""

    name = "cross_policy"
    title = "Cross-policy (Table 3)"
    needs_both = True
    keys = ("network", "policy")
    step = "draw"
    num_draws: int = Field(default=20, ge=2)
    """Random policies: each gives every image an allocation drawn uniformly from all that meet the budget."""
    draw_seed: int = 0


class Transitory(Analysis):
    """Images that both networks classify correctly until the detrimental one is quantized (Table 2)."""

    name = "transitory"
    title = "Transitory points (Table 2)"
    needs_both = True
    num_thumbnails: int = Field(default=48, ge=0)
    """How many of the worst come with their image."""


class Layers(Analysis):
    """Accuracy with only some sites quantized (Figure 2)."""

    name = "layers"
    title = "Layer isolation (Figure 2)"
    keys = ("split", "mode")
    step = "site"
    splits: tuple[str, ...] = ("train", "test")
    max_images: int | None = Field(default=None, ge=1)
    """Measure at most so many images of a split, the same for every pair; None measures all, as the paper does."""


class Histograms(Analysis):
    """Distributions of the activations at every site, before and after quantization (Figure 3)."""

    name = "histograms"
    title = "Activation histograms (Figure 3)"
    step = "site"
    low: float = -8.0
    high: float = 8.0
    num_bins: int = Field(default=1600, ge=2)
    """Paper: bins of 0.01 from -8 to 8."""

    @model_validator(mode="after")
    def _check_bins(self) -> "Histograms":
        if not self.low <= 0 <= self.high or self.low == self.high:
            raise ConfigError(f"bins from {self.low} to {self.high} leave out 0, whose share is counted: widen them.")
        return self


class Corruptions(Analysis):
    """Accuracy on transformed and corrupted test images (Figure 4)."""

    name = "corruptions"
    title = "Corruptions (Figure 4)"
    keys = ("corruption",)
    step = "degree"
    num_degrees: int = Field(default=5, ge=1)
    draw_seed: int = 0


class Mitigation(Analysis):
    """What the mitigations that the paper suggests give back: quantile scales, and sites left at full precision."""

    name = "mitigation"
    title = "Mitigation"
    keys = ("kind", "value")
    quantiles: tuple[Annotated[float, Field(gt=0.5, le=1)], ...] = (0.9999, 0.999, 0.99, 0.98, 0.95)
    num_sites: tuple[PositiveInt, ...] = (1, 2, 3, 4)
    """How many of the worst sites stay at full precision."""


class Repairs(Analysis):
    """Parity gap and drop under every repair: a row of the matrix {trained against} x {evaluated with}."""

    name = "repairs"
    title = "Repairs"
    keys = ("repair", "value", "allocation")
    quantiles: tuple[Annotated[float, Field(gt=0.5, lt=1)], ...] = (0.999, 0.99)
    """Quantiles at which ranges end."""
    num_sites: tuple[PositiveInt, ...] = (1, 2, 4)
    """How many of the worst sites stay at full precision."""
    least_bits: tuple[Annotated[int, Field(ge=1, le=16)], ...] = (4, 5, 6)
    """Bits that every site gets at least, beyond the budget."""


class Twins(Analysis):
    """The same student under other allocations and ranges: what its failure hangs on."""

    name = "twins"
    title = "Twins"
    keys = ("twin",)
    num_attacked: int = Field(default=100, ge=1)
    """Test images, drawn once, that the search per image attacks."""
    max_passes: int = Field(default=40, ge=10)
    """Passes per image that the search for a static allocation, and the one per image, may take."""
    draw_seed: int = 0
    """Of everything that is drawn: the shuffle, the untrained policy, the images that are attacked, both searches."""


class AdverseInputs(Analysis):
    """Images that quantization makes fail: changed within a bound, or under the worst allocation (section 3.2)."""

    name = "adverse_inputs"
    title = "Adverse inputs"
    keys = ("network", "images", "aim")
    step = "radius"
    radii: tuple[Annotated[int, Field(ge=1, le=255)], ...] = (1, 2, 4)
    """Most levels, of 255, by which a pixel is changed."""
    num_steps: int = Field(default=20, ge=1)
    """Gradients that are taken of every image and radius."""
    corruptions: tuple[str, ...] = ("blur", "contrast", "noise")
    """Kinds of corrupted images that worst allocations are looked for on, beside the clean ones."""
    corruption_degree: int = Field(default=3, ge=1)
    max_passes: int = Field(default=60, ge=2)
    """Forward passes per image to look for its worst allocation."""
    max_images: int | None = Field(default=200, ge=1)
    """Measure at most so many test images, the same for every pair; None measures all."""


class Indicators(Analysis):
    """Signals of a full-precision network that may tell how far it drops when quantized (section 4.3)."""

    name = "indicators"
    title = "Indicators"
    every_trial = True
    corruption_degree: int = Field(default=3, ge=1)
    """Degree of every corruption that counts as a signal."""
    draw_seed: int = 0


ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (
        Transitory(),
        CrossPolicy(),
        Layers(),
        Histograms(),
        Corruptions(),
        Mitigation(),
        Repairs(),
        Twins(),
        AdverseInputs(),
        Indicators(),
    )
}
"""Every analysis with its default settings, in the order of the paper."""


def analysis_named(name: str) -> Analysis:
    """Returns an analysis with its default settings.

    Raises:
        UnknownNameError: No analysis has this name; `-` and `_` are the same.

    Examples:
        >>> analysis_named("cross-policy").title
        'Cross-policy (Table 3)'
    """
    key = name.replace("-", "_")
    if key not in ANALYSES:
        raise unknown_name("analysis", name, ANALYSES)
    return ANALYSES[key]


def set_analyses(analyses: Mapping[str, Analysis], assignments: Sequence[str]) -> dict[str, Analysis]:
    """Returns analyses with some settings replaced by assignments such as `layers.max_images=500`, in YAML.

    Raises:
        UnknownNameError: There is no such analysis or setting.
        ConfigError: The text is no assignment, or a value breaks its rule.

    Examples:
        >>> set_analyses(ANALYSES, ["cross_policy.num_draws=100"])["cross_policy"]
        CrossPolicy(num_draws=100, draw_seed=0)
    """
    changed = dict(analyses)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        name, dot, field = path.partition(".")
        if not (equals and dot and field):
            raise ConfigError(
                f"--set {assignment!r} sets nothing: write ANALYSIS.SETTING=VALUE, for example layers.max_images=500."
            )
        key = analysis_named(name).name
        values = changed[key].model_dump() | {field: yaml_value(assignment, text)}
        changed[key] = parse(type(changed[key]), values, place=f"--set {key}")
        check_seed(f"--set {key}.draw_seed", getattr(changed[key], "draw_seed", 0))
    return changed
