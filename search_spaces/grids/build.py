"""Grids: everything a sweep could run, spelled out from a template and the user's choices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from search_spaces import paper
from search_spaces.budgets import OPTION_SETS
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, join_place, unknown_name
from search_spaces.grids.cells import Cell
from search_spaces.grids.layers import TemplateStack, read_stack
from search_spaces.grids.overrides import Settings, parse_assignments
from search_spaces.grids.template import Budget
from search_spaces.model import Frozen
from search_spaces.names import Goal
from search_spaces.pixels import Channels
from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe
from search_spaces.search import Search
from search_spaces.stages.assessment import AssessRecipe

OF_THE_DATASET = ("image_size", "mean", "std", "interpolation", "crop", "crop_mode", "train_images", "test_images")
"""Fields of `Choices` that are the dataset's own, and whose options have the same names."""
NumSites = Callable[[str], int]
"""Function from a timm architecture to its number of quantizable sites; `trainables.quant.sites` traces the network."""


class Grid(Frozen):
    """Everything a sweep could run. The plan is a pure function of this value."""

    name: str
    dataset: DatasetSpec
    teacher: TeacherRecipe | None = None
    """The black box; None for a grid without pairs."""
    white_boxes: tuple[DistillRecipe, ...] = ()
    cells: tuple[Cell, ...] = ()
    search: Search = Search()
    """Settings of the search of cells with `search_trials`."""
    seed: int
    """Seed of the teacher and the white boxes, which all cells share."""
    # Left out of what is written where there is none, so that plans of pairs are written as before.
    assessments: tuple[AssessRecipe, ...] = Field(default=(), exclude_if=lambda recipes: not recipes)
    """Parts of the assessments of networks that are given."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the pairs, the shared one first."""
        return tuple(dict.fromkeys((self.seed, *(cell.seed for cell in self.cells))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What the command line may change of a grid; None or nothing keeps the grid's own."""

    seeds: Sequence[int] = ()
    """Seeds of the pairs; the first one is also that of the teacher and the white boxes, which all pairs share."""
    dataset: str | None = None
    architectures: Sequence[str] = ()
    option_sets: Sequence[str] = ()
    budgets: Sequence[int] = ()
    """Total bit budgets, in place of the grid's."""
    goals: Sequence[str] = ()
    teacher_weights: str | None = None
    """Initial weights of the teacher: `imagenet`, `scratch` or a .safetensors file."""
    image_size: int | str | None = None
    mean: Channels | str | None = None
    """Three numbers, or text such as `0.5,0.5,0.5`, as `std`."""
    std: Channels | str | None = None
    interpolation: str | None = None
    crop: float | None = None
    crop_mode: str | None = None
    train_images: int | None = None
    test_images: int | None = None
    epochs_scale: float | None = None
    """Factor on the epochs of every stage."""
    search: Mapping[str, object] = field(default_factory=dict)
    """Values of fields of `Search`, by name."""
    overrides: Sequence[str] = ()
    """Assignments such as `pair.margin=0.05`, which win over everything else."""


def build_grid(name: str, choices: Choices, num_sites: NumSites) -> Grid:
    """Builds a grid with the user's choices applied.

    Args:
        name: One of `GRIDS`, or the path of a grid file.
        choices: What to change.
        num_sites: Tells the number of sites of an architecture.

    Raises:
        UnknownNameError: No such grid, dataset, architecture, option set, stage or field.
        ConfigError: A value breaks its rule, the file cannot be read, or two cells are the same training.
    """
    stack = read_stack(name, epochs_scale=choices.epochs_scale, options=_options(choices))
    architectures = tuple(choices.architectures or stack.axis("architectures"))
    seeds = tuple(choices.seeds or stack.axis("seeds"))
    search = stack.search(choices.search)
    cells = tuple(
        Cell(
            option_set=option_set,
            budget_level=budget.name,
            recipe=stack.recipe(
                PairRecipe,
                "pair",
                goal=goal,
                architecture=architecture,
                bit_widths=bit_widths,
                budget=_total(stack, budget, architecture, option_set, num_sites),
            ),
            seed=seed,
            search_trials=search.most_trials if goal is Goal.DETRIMENTAL and is_searched else 0,
        )
        for architecture in architectures
        for option_set, bit_widths in _option_sets(stack, choices).items()
        for budget, is_searched in _budgets(stack, choices, search)
        for seed in seeds
        for goal in (Goal(goal) for goal in choices.goals or stack.axis("goals"))
    )
    _check_distinct(cells)
    _check_searched(cells, stack, choices)
    return Grid(
        name=stack.template.name,
        dataset=stack.dataset(choices.dataset),
        teacher=stack.recipe(TeacherRecipe, "teacher"),
        white_boxes=tuple(
            stack.recipe(DistillRecipe, "distill", architecture=architecture) for architecture in architectures
        ),
        cells=cells,
        search=search,
        seed=seeds[0],
    )


def _check_searched(cells: Sequence[Cell], stack: TemplateStack, choices: Choices) -> None:
    """Refuses a grid file and choices that say how to search where nothing is searched."""
    if any(cell.search_trials for cell in cells):
        return
    # The command line may well leave out what its file searches.
    is_left_out = bool(choices.goals) or "trials" in choices.search
    asked = (
        ("search", choices.search, "--search-trials above 0"),
        (join_place(stack.source, "search"), {} if is_left_out else stack.own_search, "trials above 0, at some level"),
    )
    for place, said, takes in asked:
        if values := ", ".join(f"{name}={value}" for name, value in said.items() if value):
            raise ConfigError(
                f"{place}: {values} says how to search, and no cell of this grid is searched: a search takes "
                f"detrimental pairs and {takes}."
            )


def _options(choices: Choices) -> tuple[tuple[str, Settings], ...]:
    """Returns the single values that the command line sets, each with the option that a user would correct."""
    given = [("--teacher-weights ", "teacher", "weights", choices.teacher_weights)]
    given += [(f"--{name.replace('_', '-')} ", "dataset", name, getattr(choices, name)) for name in OF_THE_DATASET]
    options = [
        (option, Settings(**{stage: {name: value}})) for option, stage, name, value in given if value is not None
    ]
    return (*options, ("--set ", parse_assignments(choices.overrides)))


def _option_sets(stack: TemplateStack, choices: Choices) -> dict[str, tuple[int, ...]]:
    own: dict[str, tuple[int, ...]] = stack.axis("option_sets")
    known = OPTION_SETS | own
    for name in choices.option_sets:
        if name not in known:
            raise unknown_name("option set", name, known)
    return {name: known[name] for name in choices.option_sets or own}


def _budgets(stack: TemplateStack, choices: Choices, search: Search) -> list[tuple[Budget, bool]]:
    """Returns every budget and whether its cells are searched; those from the command line all are."""
    if choices.budgets:
        return [(Budget(bits=bits), True) for bits in choices.budgets]
    return [(budget, stack.is_searched(budget, search)) for budget in stack.axis("budgets")]


def _total(stack: TemplateStack, budget: Budget, architecture: str, option_set: str, num_sites: NumSites) -> int:
    """Returns a budget's total; the paper's networks on a grid with the paper's totals take them as printed."""
    is_printed = budget.level in paper.BUDGET_LEVELS and architecture in paper.BUDGETS and option_set in OPTION_SETS
    if is_printed and stack.axis("printed_totals"):
        return paper.total_bits(architecture, option_set, budget.level)
    return budget.total(num_sites(architecture), option_set)


def _check_distinct(cells: Sequence[Cell]) -> None:
    """Refuses one name for two cells, and one training under two names."""
    names: set[str] = set()
    trainings: dict[tuple[PairRecipe, int], str] = {}
    for cell in cells:
        if cell.cell_id in names:
            raise ConfigError(
                f"two cells would be called {cell.cell_id}: name each architecture, set, level, seed once."
            )
        twin = trainings.setdefault((cell.recipe, cell.seed), cell.cell_id)
        if twin != cell.cell_id:
            raise ConfigError(
                f"cells {twin} and {cell.cell_id} are the same training with {cell.recipe.budget} bits: leave one out."
            )
        names.add(cell.cell_id)
