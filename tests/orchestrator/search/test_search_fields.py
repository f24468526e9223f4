"""Every field of a search, and of the space that it searches, is heard where it should be; see `tests.fields`."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from orchestrator.plan import Node, Origin
from orchestrator.store.store import Store
from search_spaces.loss_space import LossSpace, suggest
from search_spaces.model import Frozen, vary
from search_spaces.search import Search
from tests.fields import Change, check_change, every_field
from tests.orchestrator.search_driver import SearchDriver, search_plan

RUN = ("states", "started", "points")
"""What follows from which trials there are."""
ENTRIES = {
    Search: {
        "trials": Change(3, ("planned", "uids", *RUN)),
        "levels": Change(("A", "C"), ("planned", "uids", *RUN)),
        "max_trials": Change(3, ("planned", "uids", *RUN)),
        "keep_searching": Change(True, ("planned", "uids", *RUN)),
        "until": Change("shown", ("uids", *RUN)),
        "gpu_hours": Change(9.0, RUN),
        "start_points": Change(("recipe",), ("planned", "uids", "points")),
        "warm_start": Change(False, ("uids", "points")),
        "portfolio": Change(0, ("uids", "points")),
        "startup": Change(3, ("uids", "points")),
        "learns_from": Change("network", ("uids", "points")),
        "objective": Change("lag", ("uids", "maximizes", "points")),
        "sampler": Change("random", ("uids", "points")),
        "pruner": Change("halving", ("uids", "states", "points")),
        "space": Change(LossSpace(margin=(0.02, 0.5)), ("uids", "points")),
        "confirm_seeds": Change(2, ("planned", "uids", *RUN)),
        "confirm_from_scratch": Change(True, ("uids", "points")),
    },
    LossSpace: {
        "hinge_weight": Change(None, ("hinge_weight",)),
        "kd_weight": Change((0.5, 5.0), ("kd_weight",)),
        "margin": Change((0.1, 0.5), ("margin",)),
        "temperature": Change((1.0, 9.0), ("temperature",)),
        "learning_rate": Change((0.01, 0.1), ("learning_rate",)),
        "profits": Change(("softmax", "logits"), ("profits",)),
        "range_gradient": Change((True, False), ("range_gradient",)),
        "batch_norm": Change(("frozen", "both"), ("batch_norm",)),
    },
}
BASE = {"trials": 2, "levels": "all", "confirm_seeds": 1}


def quality(node: Node) -> tuple[float, float]:
    """Level A has its pair at once, B in its second searched trial, C never; other trials keep getting worse."""
    assert node.cell is not None
    if node.origin is Origin.CONFIRMED or (node.cell.budget_level, node.trial_number) in {("A", 0), ("B", 2)}:
        return 0.0, 0.6
    return 0.03 + 0.01 * node.trial_number, 0.3


def slopes(node: Node) -> tuple[float, float]:
    """Other trials get better by the lag while they get worse by the accuracies."""
    return -1 + 0.1 * node.trial_number, 0.1


def observe_search(**search: Any) -> dict[str, Any]:
    """What is planned of the quick grid's detrimental cells, and what a whole search does of it, trial by trial."""
    plan = search_plan(budgets=(), epochs=4, overrides=("pair.start_from=neighbour",), **search)
    with TemporaryDirectory() as folder:
        driver = SearchDriver(plan, Store(f"{folder}/storage"), Path(folder, "studies.log"), quality, slopes)
        driver.run()
        recipes = {name: record["recipe"] for name, record in driver.recipes().items() if record}
    return {
        "planned": [(node.name, node.origin) for node in plan.nodes],
        "uids": [node.uid for node in plan.nodes],
        "states": driver.states(),
        "started": driver.started,
        "points": recipes,
        "maximizes": sorted({study.maximizes for study in driver.studies.values()}),
    }


class _Middle:
    """Suggests the geometric middle of every range, and the last choice."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        return float((low * high) ** 0.5)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[-1]


@cache
def observe(kind: type[Frozen], **changes: Any) -> dict[str, Any]:
    if kind is Search:
        return observe_search(**(BASE | changes))
    return suggest(vary(LossSpace(), **changes), _Middle())


@pytest.mark.parametrize(("kind", "field", "change"), every_field(ENTRIES, ENTRIES))
def test_a_field_of_a_search_changes_what_it_should_and_nothing_else(
    kind: type[Frozen], field: str, change: Change | None
) -> None:
    check_change(field, change, observe(kind), observe(kind, **{field: change and change.value}))
