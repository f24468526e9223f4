"""Decisions in force: what a sweep used where the paper is silent, allows several things or contradicts itself."""

from orchestrator.plan import Origin, Plan
from orchestrator.reports.layout import Column, TextTable, text_table
from search_spaces.model import as_text
from search_spaces.recipes import DistillRecipe, PairRecipe, TrainingRecipe

_SCALED = "KL times temperature\N{SUPERSCRIPT TWO}"
_RECIPE_FIELDS: tuple[tuple[str, str, type[TrainingRecipe], str], ...] = (
    (f"{_SCALED}, distillation", "kd_scaled", DistillRecipe, "Eq. 3 has no factor, the cited Hinton et al. have it"),
    (f"{_SCALED}, pairs", "kd_scaled", PairRecipe, "as above"),
    ("batch norm of a pair", "batch_norm", PairRecipe, "not stated"),
    ("what the knapsack maximizes", "profits", PairRecipe, "section 3.4: logits or softmax"),
    ("gradient of the scale", "range_gradient", PairRecipe, "not stated"),
    ("bit-width of weights", "weight_bit_width", PairRecipe, "16; which layers is not stated"),
    ("quantile that ends a range", "scale_quantile", PairRecipe, "abs-max, or max minus min: quantile 1"),
)
# Fields that came later: listed where a recipe sets them.
_LATER_FIELDS: tuple[tuple[str, str, type[TrainingRecipe], str], ...] = (
    ("how bits are chosen", "selection", PairRecipe, "by an exact knapsack, section 3.4"),
    ("gradient to the policy", "option_gradient", PairRecipe, "through the binary matrix, section 3.4"),
    ("learning rate of the policy", "policy_learning_rate", PairRecipe, "that of the network"),
    ("clip of the policy's gradient", "policy_gradient_clip", PairRecipe, "not stated"),
)


def decisions_table(plan: Plan) -> TextTable:
    """Lists the decisions with the values that the recipes of a sweep hold."""
    # The recipe as published is what a search tries first, not what the sweep decided on.
    recipes = [node.recipe for node in plan.nodes if node.origin is not Origin.AS_PUBLISHED]
    rows = []
    for what, name, kind, paper in _RECIPE_FIELDS:
        used = dict.fromkeys(as_text(each.model_dump(mode="json")[name]) for each in recipes if isinstance(each, kind))
        rows.append((what, name, ", ".join(used) or "no such trial", paper))
    for what, name, kind, paper in _LATER_FIELDS:
        values = [each.model_dump(mode="json").get(name) for each in recipes if isinstance(each, kind)]
        if any(value is not None for value in values):
            used = dict.fromkeys("not set" if value is None else as_text(value) for value in values)
            rows.append((what, name, ", ".join(used), paper))
    fraction = f"{100 * plan.grid.dataset.validation_fraction:g} % of the training images"
    rows += [
        ("sum of an image's bit-widths", "budget", "= C, exactly", "Eq. 12: at most C"),
        ("validation split", "validation_fraction", fraction, "none mentioned"),
    ]
    columns = (Column.name("decision"), Column.name("field"), Column.text("this sweep"), Column.text("the paper"))
    return text_table("", columns, rows)
