"""The plan: every trial of a sweep as a node of one graph, shared work once. A pure function of the grid.

A node's uid is the hash of all that decides its outcome: stage, schema, recipe, data, seed and the uids of its
parents. So equal work has equal uids, in this sweep and in any other on the same storage, and done work is found.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from search_spaces.budgets import check_budget, check_spared
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import InfeasibleBudgetError
from search_spaces.grids.build import Grid
from search_spaces.grids.cells import Cell
from search_spaces.loss_space import as_published
from search_spaces.model import vary
from search_spaces.recipes import NEIGHBOUR, PairRecipe, TrainingRecipe
from search_spaces.search import AS_PUBLISHED, AS_PUBLISHED_BEFORE, Search
from search_spaces.stages.assessment import AssessRecipe
from search_spaces.stages.registry import Stage, StageRecipe

SCHEMA = 1
"""Raised when a change makes stored results mean something else; part of every uid."""


class Origin(StrEnum):
    """Where the values of a trial's recipe come from."""

    RECIPE = "recipe"
    """From the grid."""
    AS_PUBLISHED = "as-published"
    """As published in the paper."""
    SEARCHED = "searched"
    """The cell's study chooses the point when the trial starts."""
    CONFIRMED = "confirmed"
    """The point of the pair that the search found, on a further seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One trial."""

    uid: str
    stage: Stage
    name: str
    """Readable and unique within the sweep, e.g. `pair/resnet18/I/B/detrimental/seed0/trial2`."""
    recipe: StageRecipe
    """Of a trial whose point is chosen later, the recipe before it is moved there."""
    dataset: DatasetSpec
    seed: int
    parents: tuple[str, ...]
    cell: Cell | None = None
    trial_number: int = 0
    """Number in the cell's study; 0 for nodes of no study. Confirmations come after the search's own trials."""
    origin: Origin = Origin.RECIPE
    rung: str | None = None
    """Rung of an assessment that it trains; None for all others."""

    @property
    def is_searched(self) -> bool:
        """Whether the cell's study chooses where this node runs."""
        return self.origin is Origin.SEARCHED

    @property
    def is_confirmation(self) -> bool:
        """Whether it repeats a pair that a search found, on another seed."""
        return self.origin is Origin.CONFIRMED

    @property
    def is_of_search(self) -> bool:
        """Whether the node is one of its cell's trials beyond the first: what a search spends its budget on."""
        return self.trial_number > 0 and not self.is_confirmation

    @property
    def is_prunable(self) -> bool:
        """Whether a study may end the trial half-way: not the cell's first, nor one that other sweeps run whole."""
        return self.is_of_search and self.is_searched

    @property
    def cell_id(self) -> str | None:
        """The cell of a pair, None for the shared stages."""
        return self.cell.cell_id if self.cell else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cell that cannot be run, and why."""

    cell: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The nodes of a sweep, parents before children, and the cells that were refused."""

    grid: Grid
    nodes: tuple[Node, ...]
    refused: tuple[Refusal, ...]

    def node(self, uid: str) -> Node:
        """Returns the node with this uid."""
        return next(node for node in self.nodes if node.uid == uid)

    def by_uid(self) -> dict[str, Node]:
        """Returns all nodes by uid, in plan order."""
        return {node.uid: node for node in self.nodes}

    def verified_images(self, node: Node) -> int:
        """Returns on how many test images a trial is run in ONNX Runtime where it ends: what an assessment measures."""
        about_network = next((recipe for recipe in self.grid.assessments if recipe.is_about_network), None)
        is_measured = node.rung or (isinstance(node.recipe, AssessRecipe) and node.recipe.is_about_network)
        return about_network.verified_images if about_network and is_measured else 0

    @property
    def searched_cells(self) -> tuple[Cell, ...]:
        """The cells that have a study, in plan order."""
        return tuple(nodes[0].cell for nodes in self.searches().values() if nodes[0].cell)

    def searches(self) -> dict[str, list[Node]]:
        """Returns the trials of every cell that has a study, by cell_id in plan order; confirmations are left out."""
        searches: dict[str, list[Node]] = {}
        for node in self.nodes:
            if node.cell and node.cell.search_trials and not node.is_confirmation:
                searches.setdefault(node.cell.cell_id, []).append(node)
        return searches

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that have nodes, in the order of `Stage`."""
        return tuple(self.stage_counts())

    def stage_counts(self) -> dict[Stage, int]:
        """Returns the number of nodes of every stage that has any, in the order of `Stage`."""
        counts = Counter(node.stage for node in self.nodes)
        return {stage: counts[stage] for stage in Stage if counts[stage]}


def build_plan(grid: Grid, num_sites: Callable[[str], int]) -> Plan:
    """Turns a grid into its graph of trials; cells whose budget no allocation meets are refused.

    Args:
        grid: What could be run.
        num_sites: Tells the number of quantizable sites of an architecture.
    """
    shared, white_boxes = _shared_nodes(grid)
    pairs: list[Node] = []
    refused: list[Refusal] = []
    for cell in grid.cells:
        count = cell.num_sites or num_sites(cell.architecture)
        check_spared(cell.recipe.spared_sites or 0, count)
        try:
            check_budget(cell.recipe.budget, count, cell.recipe.bit_widths)
        except InfeasibleBudgetError as error:
            refused.append(Refusal(cell.cell_id, str(error)))
        else:
            white_box = (cell.architecture, grid.seed if cell.white_box_seed is None else cell.white_box_seed)
            parents = () if cell.recipe.given else (white_boxes[white_box].uid,)
            pairs += _pair_nodes(cell, grid, parents)
    # A white box without any feasible cell still runs: the grid asks for it, and a later extension may use it.
    # Trial 0 of every cell comes before the searched ones, the first seed before the others: so Table 1 is complete as
    # early as possible. Confirmations come last.
    rank = {seed: place for place, seed in enumerate(grid.seeds)}

    def place(node: Node) -> tuple[bool, int, int]:
        return node.is_confirmation, node.trial_number, rank[node.cell.seed] if node.cell else 0

    pairs.sort(key=place)
    return Plan(grid, (*shared, *pairs, *_assess_nodes(grid), *_trained_nodes(grid)), tuple(refused))


def _shared_nodes(grid: Grid) -> tuple[list[Node], dict[tuple[str, int], Node]]:
    """Returns the trials that pairs share, and the white boxes among them by architecture and seed."""
    teacher, dataset, seed = grid.teacher, grid.dataset, grid.seed
    roots = [_node(Stage.TEACHER, f"teacher/{teacher.architecture}", teacher, dataset, seed)] if teacher else []
    parents = [root.uid for root in roots]
    white_boxes = {
        (recipe.architecture, each): _node(
            Stage.DISTILL,
            f"distill/{recipe.architecture}" + ("" if each == seed else f"/seed{each}"),
            recipe,
            dataset,
            each,
            *parents,
        )
        for each in grid.white_box_seeds
        for recipe in grid.white_boxes
    }
    return [*roots, *white_boxes.values()], white_boxes


def _assess_nodes(grid: Grid) -> list[Node]:
    """Returns the parts of the assessments; they need nothing of each other, so all run at the same time."""
    return [
        _node(Stage.ASSESS, f"assess/{recipe.architecture}/{recipe.part}", recipe, grid.dataset, grid.seed)
        for recipe in grid.assessments
    ]


def _trained_nodes(grid: Grid) -> list[Node]:
    """Returns what an assessment trains; it comes last, since the verdict does not need it."""
    return [
        replace(_node(Stage.PAIR, name, each.recipe, grid.dataset, grid.seed), rung=each.rung)
        for each in (grid.trainings.rungs if grid.trainings else ())
        for name in [f"pair/{each.recipe.architecture}/{each.recipe.budget}b/{each.rung}"]
    ]


def _pair_nodes(cell: Cell, grid: Grid, parents: Sequence[str]) -> list[Node]:
    """Returns the trials of a cell: the first one, those of its search, and the confirmations of what it finds.

    `parents` is the trial of the white box; none where the white box is given.
    """

    def pair(name: str, number: int, origin: Origin, recipe: TrainingRecipe, seed: int, **chosen_by: Any) -> Node:
        name = f"pair/{cell.cell_id}{name}"
        node = _node(Stage.PAIR, name, recipe, grid.dataset, seed, *parents, **chosen_by)
        return replace(node, cell=cell, trial_number=number, origin=origin)

    nodes: list[Node] = []
    starts, deciding = _starts(cell, grid.search), _deciding(grid.search)
    for number in range(cell.search_trials + 1):
        name = f"/trial{number}" if number else ""
        if number < len(starts):
            nodes.append(pair(name, number, *starts[number], cell.seed))
        else:
            nodes.append(pair(name, number, Origin.SEARCHED, cell.recipe, cell.seed, **deciding, trial_number=number))
    for number in range(1, grid.search.confirm_seeds + 1) if cell.search_trials else ():
        # Whatever a longer search finds is another pair.
        length: dict[str, Any] = {"trials": grid.search.trials, "keep_searching": grid.search.keep_searching}
        length |= {"until": grid.search.until} if grid.search.until else {}
        length |= {"from_scratch": True} if grid.search.confirm_from_scratch else {}
        found_by = deciding | length | {"most_trials": cell.search_trials, "confirms": number}
        name, place = f"/confirm{number}", cell.search_trials + number
        nodes.append(pair(name, place, Origin.CONFIRMED, cell.recipe, cell.seed + number, **found_by))
    return nodes


def _starts(cell: Cell, search: Search) -> list[tuple[Origin, PairRecipe]]:
    """Returns the first trials of a cell, whose recipes are known; one that is not searched has its own only."""
    if not cell.search_trials:
        # A search would name the neighbour.
        is_open = cell.recipe.start_from == NEIGHBOUR
        return [(Origin.RECIPE, vary(cell.recipe, start_from=None) if is_open else cell.recipe)]
    recipes = {"recipe": cell.recipe, AS_PUBLISHED: as_published(cell.recipe)}
    starts: dict[PairRecipe, Origin] = {}
    for name in search.start_points:
        starts.setdefault(recipes[name], Origin(name))
    return [(origin, recipe) for recipe, origin in starts.items()]


def _deciding(search: Search) -> dict[str, Any]:
    """Returns what a study's points depend on; they are not known when the plan is made, and this stands for them."""
    # Of these, what came later is left out where it is not set.
    fields = {"space", "sampler", "pruner", "start_points", "warm_start"}
    fields |= {"objective", "portfolio", "startup", "learns_from"}
    deciding = search.model_dump(mode="json", include=fields)
    # Uids were made with this word, and stay.
    words = [AS_PUBLISHED_BEFORE if name == AS_PUBLISHED else name for name in search.start_points]
    return {"search": deciding | {"start_points": words}}


def _node(
    stage: Stage, name: str, recipe: StageRecipe, dataset: DatasetSpec, seed: int, *parents: str, **chosen_by: Any
) -> Node:
    identity = {
        "schema": SCHEMA,
        "stage": stage,
        "recipe": recipe.model_dump(mode="json"),
        "dataset": dataset.model_dump(mode="json"),
        "seed": seed,
        "parents": parents,
    }
    uid = digest(identity | chosen_by)
    return Node(uid=uid, stage=stage, name=name, recipe=recipe, dataset=dataset, seed=seed, parents=parents)


def digest(identity: Mapping[str, Any]) -> str:
    """Returns the uid of what a mapping identifies."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


ANALYSIS = "analysis"
"""Where analyses stand in the store, in place of a stage."""
