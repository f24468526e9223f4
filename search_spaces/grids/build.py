"""Grids: everything a sweep could run, spelled out from a template and the user's choices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import Field

from search_spaces import paper
from search_spaces.budgets import OPTION_SETS, placement_of
from search_spaces.datasets import OF_THE_DATASET, DatasetSpec
from search_spaces.errors import ConfigError, join_place, unknown_name
from search_spaces.grids.cells import Cell, check_distinct
from search_spaces.grids.given import Given, LookAt, open_given
from search_spaces.grids.layers import TemplateStack, read_stack
from search_spaces.grids.overrides import Settings, parse_assignments
from search_spaces.grids.seeds import check_seeds, seeds_of
from search_spaces.grids.template import Budget
from search_spaces.grids.trained import Trainings
from search_spaces.model import Frozen, later_field
from search_spaces.models import model_spec
from search_spaces.names import Goal, SitePlacement
from search_spaces.objective import Claims
from search_spaces.pixels import Channels
from search_spaces.recipes import NEIGHBOUR, DistillRecipe, PairRecipe, TeacherRecipe
from search_spaces.search import Search
from search_spaces.stages.assessment import AssessRecipe, NetworkFacts

NumSites = Callable[..., int]
"""Function from a timm architecture, and from `inputs` where sites are there, to its number of quantizable sites."""


class Grid(Frozen):
    """Everything a sweep could run. The plan is a pure function of this value."""

    name: str
    dataset: DatasetSpec
    teacher: TeacherRecipe | None = None
    """The black box; None where it is given, and for a grid that distils nothing."""
    white_boxes: tuple[DistillRecipe, ...] = ()
    """Those that are distilled; the recipe of a cell names one that is given."""
    cells: tuple[Cell, ...] = ()
    search: Search = Search()
    """Settings of the search of cells with `search_trials`."""
    seed: int
    """Seed of the teacher and the white boxes, which all cells share unless they say otherwise."""
    # Left out of what is written where there is none, so that plans of pairs are written as before.
    assessments: tuple[AssessRecipe, ...] = Field(default=(), exclude_if=lambda recipes: not recipes)
    """Parts of the assessments of networks that are given."""
    trainings: Trainings | None = later_field()
    """What an assessment trains, if it was asked to."""
    claims: Claims = Field(default=Claims(), exclude_if=lambda claims: claims == Claims())
    """Settings of the tests behind verdicts."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the pairs, the shared one first."""
        return tuple(dict.fromkeys((self.seed, *(cell.seed for cell in self.cells))))

    @property
    def white_box_seeds(self) -> tuple[int, ...]:
        """Seeds of the white boxes that are distilled, the shared one first."""
        own = (cell.white_box_seed for cell in self.cells)
        return tuple(dict.fromkeys((self.seed, *(seed for seed in own if seed is not None))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What the command line may change of a grid; None or nothing keeps the grid's own."""

    seeds: Sequence[int] = ()
    """Seeds of the pairs; the first one is also that of the teacher and the white boxes, which all pairs share."""
    dataset: str | None = None
    architectures: Sequence[str] = ()
    white_boxes: Sequence[str] = ()
    """URIs of white boxes that are given, in place of teacher and distillation."""
    teacher: str | None = None
    """URI of a teacher that is given."""
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
    drop_duplicates: bool | None = None
    epochs_scale: float | None = None
    """Factor on the epochs of every stage."""
    search: Mapping[str, object] = field(default_factory=dict)
    """Values of fields of `Search`, by name."""
    overrides: Sequence[str] = ()
    """Assignments such as `pair.margin=0.05`, which win over everything else."""

    @property
    def typed_models(self) -> list[str]:
        """The canonical URIs of the networks that the user typed; code runs for those only."""
        return [model_spec(uri).uri for uri in (*self.white_boxes, *([self.teacher] if self.teacher else []))]


@dataclass(frozen=True, kw_only=True, slots=True)
class WhiteBox:
    """A white box as cells need it."""

    architecture: str
    num_sites: int
    facts: NetworkFacts | None = None
    """Of one that is given."""
    placement: SitePlacement = "outputs"

    @property
    def known_num_sites(self) -> int | None:
        """The number of sites where the architecture does not tell it."""
        return self.num_sites if self.facts or self.placement != "outputs" else None

    def placed(self, placement: SitePlacement, num_sites: NumSites) -> "WhiteBox":
        """Returns the same network with its sites elsewhere."""
        if placement == self.placement:
            return self
        number = self.facts.num_sites_at(placement) if self.facts else num_sites(self.architecture, placement)
        return replace(self, num_sites=number, placement=placement)

    @property
    def has_papers_sites(self) -> bool:
        """Whether the totals that the paper prints for the architecture are meant for this network."""
        return self.facts is None or paper.NUM_SITES.get(self.architecture) == self.num_sites


def build_grid(name: str, choices: Choices, num_sites: NumSites, look_at: LookAt | None = None) -> Grid:
    """Builds a grid with the user's choices applied.

    Args:
        name: One of `GRIDS`, or the path of a grid file.
        choices: What to change.
        num_sites: Tells the number of sites of an architecture.
        look_at: Opens the networks that are given; None where there are none.

    Raises:
        UnknownNameError: No such grid, dataset, architecture, option set, stage or field.
        ConfigError: A value breaks its rule, the file or a network that is given cannot be read, or two cells are the
            same training.
    """
    stack = read_stack(name, epochs_scale=choices.epochs_scale, options=_options(choices))
    given = open_given(
        stack,
        look_at,
        dataset=choices.dataset,
        white_boxes=choices.white_boxes,
        teacher=choices.teacher,
        architectures=choices.architectures,
    )
    white_boxes = _white_boxes(given, choices.architectures or stack.axis("architectures"), num_sites)
    stack.check_per_architecture([facts.architecture for facts in given.white_boxes] or stack.axis("architectures"))
    seeds = seeds_of(stack.seeds(choices.seeds, is_given=bool(given.white_boxes)))
    search = stack.search(choices.search)

    def placed(white_box: WhiteBox, goal: Goal, attacker: str | None) -> WhiteBox:
        of_cell = {"architecture": white_box.architecture, "budget": 1}
        recipe = stack.recipe(PairRecipe, "pair", goal=goal, attacker=attacker, **of_cell)
        return white_box.placed(placement_of(recipe.sites), num_sites)

    cells = tuple(
        Cell(
            option_set=option_set,
            budget_level=budget.name if attacker is None else f"{budget.name}+{attacker}",
            recipe=stack.recipe(
                PairRecipe,
                "pair",
                goal=goal,
                attacker=attacker,
                architecture=white_box.architecture,
                bit_widths=bit_widths,
                budget=_total(stack, budget, white_box, option_set),
                white_box=white_box.facts.model if white_box.facts else None,
            ),
            seed=seed,
            white_box_seed=white_box_seed,
            num_sites=white_box.known_num_sites,
            search_trials=search.most_trials if goal is Goal.DETRIMENTAL and is_searched else 0,
        )
        for distilled in white_boxes
        for option_set, bit_widths in _option_sets(stack, choices).items()
        for budget, is_searched in _budgets(stack, choices, search)
        for seed, white_box_seed in seeds
        for goal in (Goal(goal) for goal in choices.goals or stack.axis("goals"))
        for attacker in stack.attackers(goal, distilled.architecture)
        for white_box in (placed(distilled, goal, attacker),)
    )
    check_distinct(cells)
    _check_searched(cells, stack, choices)
    check_seeds([seed for seed, _ in seeds], search.confirm_seeds, given.dataset.split_seed)
    return Grid(
        name=stack.template.name,
        dataset=given.dataset,
        teacher=None if given.teacher or given.white_boxes else stack.recipe(TeacherRecipe, "teacher"),
        white_boxes=tuple(
            stack.recipe(
                DistillRecipe,
                "distill",
                architecture=white_box.architecture,
                black_box=given.teacher.model if given.teacher else None,
            )
            for white_box in white_boxes
            if white_box.facts is None
        ),
        cells=cells,
        search=search,
        seed=seeds[0][0],
        claims=stack.axis("claims") or Claims(),
    )


def _white_boxes(given: Given, architectures: Sequence[str], num_sites: NumSites) -> list[WhiteBox]:
    """Returns the white boxes that are given, or else those of some architectures."""
    if given.white_boxes:
        return [
            WhiteBox(architecture=facts.architecture, num_sites=facts.num_sites, facts=facts)
            for facts in given.white_boxes
        ]
    return [WhiteBox(architecture=name, num_sites=num_sites(name)) for name in architectures]


def _check_searched(cells: Sequence[Cell], stack: TemplateStack, choices: Choices) -> None:
    """Refuses a grid file and choices that say how to search where nothing is searched."""
    if any(cell.search_trials for cell in cells):
        return
    is_left_out = bool(choices.goals) or "trials" in choices.search  # of what the file searches
    asks_neighbours = any(cell.recipe.start_from == NEIGHBOUR for cell in cells)
    asked = (
        ("search", choices.search, "--search-trials above 0"),
        ("pair", {"start_from": NEIGHBOUR} if asks_neighbours else {}, "--search-trials above 0"),
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


def _total(stack: TemplateStack, budget: Budget, white_box: WhiteBox, option_set: str) -> int:
    """Returns a budget's total; the paper's networks on a grid with the paper's totals take them as printed."""
    architecture = white_box.architecture
    is_printed = budget.level in paper.BUDGET_LEVELS and architecture in paper.BUDGETS and option_set in OPTION_SETS
    if is_printed and white_box.has_papers_sites and stack.axis("printed_totals"):
        if white_box.placement != "outputs":
            raise ConfigError(
                f"{architecture}/{option_set}/{budget.level}: the paper's total is for the outputs of layers, and "
                f"pair.sites={white_box.placement} has {white_box.num_sites} other sites: give --budget BITS, such as "
                f"{budget.total(white_box.num_sites, option_set)}, or leave pair.sites out."
            )
        return paper.total_bits(architecture, option_set, budget.level)
    return budget.total(white_box.num_sites, option_set)
