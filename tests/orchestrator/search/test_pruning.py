"""The rules that end trials, against Optuna's pruner, and in searches on the driver's own calls."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState

from orchestrator.plan import Node
from orchestrator.search.pruning import Curve, Mark, is_behind_hits, is_in_worse_half
from orchestrator.store.states import State
from orchestrator.store.store import Store
from search_spaces.search import hurdles, rung
from tests.orchestrator.search_driver import SearchDriver, search_plan


def pruned_by_optuna(values: Sequence[float], epochs: int) -> list[int | None]:
    """The epoch at which each of these trials ends, one after the other."""
    pruner = SuccessiveHalvingPruner(min_resource=rung(epochs), reduction_factor=2)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    found: list[int | None] = []
    for value in values:
        trial, ended_at = study.ask(), None
        for epoch in range(1, epochs):
            trial.report(value, epoch)
            if trial.should_prune():
                ended_at = epoch
                break
        if ended_at is None:
            study.tell(trial, value)
        else:
            study.tell(trial, state=TrialState.PRUNED)
        found.append(ended_at)
    return found


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), max_size=7), st.integers(2, 9))
def test_the_worse_half_is_that_of_optunas_successive_halving_with_one_rung(values: list[float], epochs: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves: list[dict[int, Mark]] = []
    found: list[int | None] = []
    for value in values:
        curve: dict[int, Mark] = {}
        curves.append(curve)
        ended_at = None
        for epoch in range(1, epochs):
            curve[epoch] = Mark(value, 0.0)
            if is_in_worse_half(curve, curves, epochs):
                ended_at = epoch
                break
        found.append(ended_at)
    assert found == pruned_by_optuna(values, epochs)


def curve(objective: float, loss: float, until: int) -> Curve:
    return {epoch: Mark(objective, loss) for epoch in range(1, until + 1)}


HITS = [curve(0.3, 0.2, 12), curve(0.5, 0.4, 12), curve(-0.1, 0.1, 12)]


@pytest.mark.parametrize(
    ("objective", "loss", "at", "hits", "expected"),
    [
        (-0.2, 0.1, 6, HITS, True),  # fallen less than any hit had by then
        (0.6, 0.5, 6, HITS, True),  # given away more than any
        (-0.1, 0.4, 6, HITS, False),  # as slow as the slowest and as far off as the farthest
        (-0.2, 0.1, 9, HITS, True),
        (-0.2, 0.1, 7, HITS, False),  # no hurdle there
        (-0.2, 0.1, 6, HITS[:2], False),  # two hits are no measure
        (math.nan, 0.1, 6, HITS, True),
    ],
)
def test_behind_is_who_is_behind_every_hit_of_the_network_at_a_hurdle(
    objective: float, loss: float, at: int, hits: list[Curve], expected: bool
) -> None:
    assert hurdles(12) == (6, 9)
    assert is_behind_hits(curve(objective, loss, at), hits, 12) is expected


def lagging(node: Node) -> tuple[float, float]:
    """Three cells have their hit at once; in the fourth, trials 1 and 3 are behind their curves, the others are not."""
    assert node.cell is not None
    if node.cell.budget_level != "105b":
        return 0.5, 0.02
    # A gap of three points costs 0.2.
    return (-0.8, 0.01) if node.trial_number in (1, 3) else (0.8, 0.02)


def found(node: Node) -> tuple[float, float]:
    assert node.cell is not None
    return (0.03, 0.3) if node.cell.budget_level == "105b" else (0.0, 0.6)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_search_ends_trials_at_the_hurdle_that_hits_of_other_cells_set(tmp_path: Path, sampler: str) -> None:
    search: dict[str, Any] = {"trials": 1, "max_trials": 4, "objective": "lag", "start_points": ("recipe",)}
    plan = search_plan(budgets=(60, 70, 82, 105), epochs=8, pruner="hurdle", sampler=sampler, **search)
    driver = SearchDriver(plan, Store(str(tmp_path / "s")), tmp_path / "log", found, lagging)
    driver.run()
    states = {name: state for name, state in driver.states().items() if "/105b/" in name}
    assert list(states.values()) == [State.DONE, State.PRUNED, State.DONE, State.PRUNED, State.DONE]
    ended = driver.node("105b/detrimental/seed0/trial1")
    assert len(driver.frontier._snapshot.trial(ended).epochs()) == 4
    (cell_id,) = {node.cell_id for node in plan.nodes if node.cell and node.cell.budget_level == "105b"}
    assert cell_id is not None
    told = [trial.state.name for trial in driver.optuna_trials(cell_id)]
    assert told == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED", "COMPLETE"]


def test_a_relaunch_knows_the_curves_of_the_hits_before(tmp_path: Path) -> None:
    search: dict[str, Any] = {"trials": 1, "max_trials": 4, "objective": "lag", "start_points": ("recipe",)}
    plan = search_plan(budgets=(60, 70, 82, 105), epochs=8, pruner="hurdle", **search)
    driver = SearchDriver(plan, Store(str(tmp_path / "s")), tmp_path / "log", found, lagging)
    assert any("105b" in moment and "trial1" in moment for moment in driver.moments())
    driver.restart()
    driver.run()
    assert driver.states()[driver.node("105b/detrimental/seed0/trial1").name] is State.PRUNED
