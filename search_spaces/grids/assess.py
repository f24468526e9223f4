"""The grid of an assessment: one network, measured by itself and at every budget."""

from collections.abc import Sequence

from search_spaces.budgets import OPTION_SETS, budget_from_average, check_as_it_is, check_budget
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, unknown_name
from search_spaces.grids.build import Grid
from search_spaces.grids.seeds import check_seeds
from search_spaces.grids.trained import TrainingData, check_trainable, trainings
from search_spaces.model import parse, vary
from search_spaces.models import ModelSpec
from search_spaces.names import RangeScope, SitePlacement
from search_spaces.stages.assessment import AVERAGE_BITS, HEAVY, INT8, LIGHT, AssessRecipe, Effort, Labels, Ladder
from search_spaces.stages.companions import HEAVY_COMPANIONS
from search_spaces.stages.quantized_file import QuantizedFile

NAME = "assess"


def assess_grid(
    model: ModelSpec,
    dataset: DatasetSpec,
    *,
    architecture: str,
    num_sites: int,
    budgets: Sequence[int] = (),
    option_set: str = "I",
    labels: Labels = "dataset",
    class_names: Sequence[str] | None = None,
    equalize: bool = False,
    sites: SitePlacement = "outputs",
    range_scope: RangeScope = "example",
    companions: bool = False,
    quantized_file: QuantizedFile | None = None,
    effort: Effort = LIGHT,
    draws: int | None = None,
    max_passes: int | None = None,
    train: TrainingData | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
) -> Grid:
    """Builds the grid that assesses a network.

    Args:
        model: The network, with the checksum of its weights.
        dataset: What it is measured on, as the network sees it.
        architecture: Its name for people.
        num_sites: Its number of sites, where `sites` says that they are.
        budgets: Total bits of an image; none is averages of 4, 5.5 and 7 bits per site, and no budget at all where a
            quantized file is assessed.
        option_set: I, II or III.
        labels: What counts as right.
        class_names: Of the network, where it does not say them itself.
        equalize: Equalize the network's links first.
        sites: Whether the outputs or the inputs of layers are quantized.
        range_scope: What shares a range.
        companions: Measure what an answer depends on the images that share its batch, too.
        quantized_file: A file that was made from the network, to be measured beside it.
        effort: How much is measured.
        draws: Of the rung `random`, in place of that of the effort.
        max_passes: Of the search per image, in place of that of the effort.
        train: Images to train policies and pairs on, which makes further rungs; None trains nothing.
        overrides: Assignments such as `pair.epochs=8`, which change how they are trained.
        seed: Of everything random.

    Raises:
        UnknownNameError: No such option set.
        InfeasibleBudgetError: No allocation over the sites meets a budget.
        ConfigError: A budget is given twice, a number breaks its rule, or the network cannot be trained as asked.
    """
    if option_set not in OPTION_SETS:
        raise unknown_name("option set", option_set, OPTION_SETS)
    if model.kind == "onnx":
        check_as_it_is(model.uri, sites, range_scope, companions=companions)
    if twice := [budget for budget in budgets if list(budgets).count(budget) > 1]:
        raise ConfigError(f"--budget {twice[0]} is given twice: give every budget once.")
    usual = () if quantized_file else AVERAGE_BITS
    totals = budgets or [budget_from_average(bits, num_sites) for bits in usual]
    given: dict[str, object] = {"draws": draws, "max_passes": max_passes, "bit_widths": OPTION_SETS[option_set]}
    chosen = effort.model_dump(exclude={"scanned_images"})
    chosen |= {name: value for name, value in given.items() if value is not None}
    ladders = [parse(Ladder, {"budget": total} | chosen) for total in sorted(totals)]
    for ladder in ladders:
        check_budget(ladder.budget, num_sites, ladder.bit_widths)
    network = AssessRecipe(
        model=model,
        architecture=architecture,
        labels=labels,
        class_names=tuple(class_names) if class_names else None,
        equalize=equalize or None,
        sites=sites,
        range_scope=range_scope,
        scanned_images=effort.scanned_images,
    )
    # Ladders first: they take longest, and what starts last ends last.
    recipes = [*(network.model_copy(update={"ladder": ladder}) for ladder in ladders), network]
    if companions:
        others = [total for total in sorted(totals) if total != INT8 * num_sites]
        chosen = {"budgets": tuple(others), "bit_widths": OPTION_SETS[option_set]}
        chosen |= HEAVY_COMPANIONS if effort == HEAVY else {}
        recipes.append(vary(network, companions=chosen, range_scope=None))
    if quantized_file:
        recipes.insert(0, vary(network, quantized_file=quantized_file.model_dump()))
    trained = None
    if train:
        check_trainable(model, has_labels=labels == "dataset", equalize=equalize)
        trained = trainings(model, architecture, ladders, train, overrides)
    check_seeds((seed,), 0, dataset.split_seed)
    return Grid(name=NAME, dataset=dataset, seed=seed, assessments=tuple(recipes), trainings=trained)
