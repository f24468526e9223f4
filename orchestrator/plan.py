"""The plan: every trial of a sweep as a node of one graph, shared work once. A pure function of the grid.

A node's uid is the hash of all that decides its outcome: stage, schema, recipe, data, seed and the uids of its
parents. So equal work has equal uids, in this sweep and in any other on the same storage, and done work is found.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from search_spaces.budgets import check_budget
from search_spaces.cells import Cell
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import InfeasibleBudgetError
from search_spaces.grids import Grid
from search_spaces.loss_space import LossSpace
from search_spaces.recipes import Recipe

SCHEMA = 1
"""Raised when a change makes stored results mean something else; part of every uid."""


class Stage(StrEnum):
    """The stages of the pipeline, in order."""

    TEACHER = "teacher"
    DISTILL = "distill"
    PAIR = "pair"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One trial."""

    uid: str
    stage: Stage
    name: str
    """Readable and unique within the sweep, e.g. `pair/resnet18/I/B/detrimental/seed0/trial2`."""
    recipe: Recipe
    """For a searched trial (number > 0) the recipe before its study moved it to a point."""
    dataset: DatasetSpec
    seed: int
    parents: tuple[str, ...]
    cell: Cell | None = None
    trial_number: int = 0
    """Number in the cell's study; 0 is the recipe's own point, and of nodes that are not searched."""

    @property
    def is_searched(self) -> bool:
        """Whether the cell's study chooses this node's loss weights and margin."""
        return self.trial_number > 0

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

    @property
    def has_pairs(self) -> bool:
        """Whether any cell can be run."""
        return any(node.stage is Stage.PAIR for node in self.nodes)

    def raise_first_refusal(self) -> NoReturn:
        """Raises the reason why the first refused cell cannot be run."""
        raise InfeasibleBudgetError(self.refused[0].reason)

    def stage_counts(self) -> dict[Stage, int]:
        """Returns the number of nodes of every stage, in pipeline order."""
        counts = Counter(node.stage for node in self.nodes)
        return {stage: counts[stage] for stage in Stage}


def build_plan(grid: Grid, num_sites: Callable[[str], int]) -> Plan:
    """Turns a grid into its graph of trials.

    Args:
        grid: What could be run.
        num_sites: Tells the number of quantizable sites of an architecture.

    Returns:
        The plan; cells whose budget no allocation meets are refused, with the feasible range.
    """
    teacher = _node(Stage.TEACHER, f"teacher/{grid.teacher.architecture}", grid.teacher, grid, seed=grid.seed)
    white_boxes = {
        recipe.architecture: _node(
            Stage.DISTILL,
            f"distill/{recipe.architecture}",
            recipe,
            grid,
            seed=grid.seed,
            parents=(teacher.uid,),
        )
        for recipe in grid.white_boxes
    }
    pairs: list[Node] = []
    refused: list[Refusal] = []
    for cell in grid.cells:
        try:
            check_budget(cell.recipe.budget, num_sites(cell.architecture), cell.recipe.bit_widths)
        except InfeasibleBudgetError as error:
            refused.append(Refusal(cell.cell_id, str(error)))
            continue
        parent = white_boxes[cell.architecture].uid
        pairs += [_pair_node(cell, grid, parent, number) for number in range(cell.search_trials + 1)]
    # A white box without any feasible cell still runs: the grid asks for it, and a later extension may use it.
    # Trial 0 of every cell comes before the searched ones, the first seed before the others: so Table 1 is complete as
    # early as possible.
    rank = {seed: place for place, seed in enumerate(grid.seeds)}
    pairs.sort(key=lambda node: (node.trial_number, rank[node.seed]))
    return Plan(grid, (teacher, *white_boxes.values(), *pairs), tuple(refused))


def _pair_node(cell: Cell, grid: Grid, white_box_uid: str, trial_number: int) -> Node:
    name = f"pair/{cell.cell_id}" + (f"/trial{trial_number}" if trial_number else "")
    return _node(
        Stage.PAIR,
        name,
        cell.recipe,
        grid,
        seed=cell.seed,
        parents=(white_box_uid,),
        cell=cell,
        trial_number=trial_number,
    )


def _node(
    stage: Stage,
    name: str,
    recipe: Recipe,
    grid: Grid,
    *,
    seed: int,
    parents: tuple[str, ...] = (),
    cell: Cell | None = None,
    trial_number: int = 0,
) -> Node:
    identity: dict[str, Any] = {
        "schema": SCHEMA,
        "stage": stage,
        "recipe": recipe.model_dump(mode="json"),
        "dataset": grid.dataset.model_dump(mode="json"),
        "seed": seed,
        "parents": parents,
    }
    if trial_number:
        # The point itself is not known when the plan is made; the study's space and the number stand for it.
        identity["search"] = {"space": LossSpace().model_dump(mode="json"), "trial_number": trial_number}
    return Node(
        uid=_digest(identity),
        stage=stage,
        name=name,
        recipe=recipe,
        dataset=grid.dataset,
        seed=seed,
        parents=parents,
        cell=cell,
        trial_number=trial_number,
    )


def _digest(identity: dict[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
