"""The time left, at half of runs whose ends are known: launches that really ran, and made-up ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.plan import Plan, build_plan
from orchestrator.progress.pace import Pace, TimeLeft, makespan, span_text
from orchestrator.progress.time_here import time_here_text
from orchestrator.store.states import State
from orchestrator.store.store import Store
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.progress.made_up_runs import Event, Run
from tests.orchestrator.progress.recording import read_recording
from tests.orchestrator.search_driver import search_plan

RECORDINGS = Path(__file__).parent / "recordings"


def at_half_time(plan: Plan, num_parallel: int, events: Sequence[Event]) -> tuple[TimeLeft, float]:
    """Returns what is estimated when half of the time is over, and the time that is left in truth."""
    pace, epochs, total = Pace(), dict[str, int](), events[-1].now
    states: Mapping[str, State] = {}
    for event in events:
        if event.now > total / 2:
            break
        states = event.states
        if event.kind == "started":
            pace.started(event.node.uid, event.now)
            epochs[event.node.uid] = 0
        elif event.kind == "epoch":
            pace.epoch(event.node, event.row)
            epochs[event.node.uid] = int(event.row["epoch"])
        else:
            pace.ended(event.node.uid, event.now)
            del epochs[event.node.uid]
    left = pace.time_left(plan, states, epochs, num_parallel)
    assert left is not None
    return left, total / 2


def error(left: TimeLeft, truth: float) -> float:
    """Returns how far the truth lies outside of the range, in units of itself."""
    return max(left.low - truth, truth - left.high, 0.0) / truth


RUNS = [
    (search_plan(budgets=budgets, epochs=epochs, goals=("robust", "detrimental"), **search), num_parallel)
    for budgets, epochs, search, num_parallel in (
        ((60, 82, 105), 32, {"trials": 0}, 2),
        ((60, 82, 105), 32, {"trials": 0}, 1),
        ((60, 82), 16, {"trials": 2}, 2),
        ((60, 82, 105), 32, {"trials": 2}, 2),
        ((60, 82, 105), 12, {"trials": 4}, 4),
        ((60, 82, 105), 12, {"trials": 4, "confirm_seeds": 2}, 2),
        ((60, 82, 105), 12, {"trials": 2, "keep_searching": True}, 2),
        ((82,), 32, {"trials": 3, "confirm_seeds": 1}, 2),
        ((60, 82, 105), 8, {"trials": 6, "confirm_seeds": 1}, 8),
        ((60, 70, 82, 90, 105), 32, {"trials": 1}, 4),
    )
]


def test_time_left_at_half_time_is_within_30_percent_in_eight_of_ten_made_up_runs() -> None:
    estimates = [
        at_half_time(plan, num_parallel, list(Run(plan, num_parallel, seed).events()))
        for seed, (plan, num_parallel) in enumerate(RUNS)
    ]

    errors = [error(*each) for each in estimates]
    assert sum(each <= 0.3 for each in errors) >= 8, errors
    # A range is no excuse: only a search makes it wide.
    wide = [left for left, _ in estimates if left.high > 1.8 * left.low]
    assert all(left.may_end_early for left in wide)
    assert {left.may_end_early for left, _ in estimates} == {True, False}


RECORDED: Mapping[str, tuple[str, Choices]] = {
    "matrix": (str(RECORDINGS / "matrix.yaml"), Choices()),
}
"""Grid and options of recorded launches, two trials at a time on two cores that also ran other programs."""


@pytest.mark.parametrize("name", RECORDED)
def test_time_left_at_half_time_of_a_recorded_launch_is_within_30_percent(name: str) -> None:
    grid, choices = RECORDED[name]
    plan = build_plan(build_grid(grid, choices, lambda _: 20), lambda _: 20)

    left, truth = at_half_time(plan, 2, read_recording(RECORDINGS / f"{name}.csv", plan))

    assert error(left, truth) <= 0.3, (left, truth)
    assert left.high <= 1.8 * left.low or left.may_end_early


@pytest.mark.parametrize(("num_parallel", "expected"), [(1, 90.0), (2, 60.0)])
def test_trials_start_when_their_parents_are_done_and_a_place_is_free(num_parallel: int, expected: float) -> None:
    teacher, distill, *pairs = search_plan(budgets=(82,), goals=("robust", "detrimental"), trials=0).nodes
    seconds = {teacher.uid: 10.0, distill.uid: 20.0} | dict.fromkeys((pair.uid for pair in pairs), 30.0)

    assert len(pairs) == 2
    assert makespan([teacher, distill, *pairs], lambda node: seconds[node.uid], num_parallel) == expected


def test_plan_says_how_long_it_takes_on_the_cores_of_this_machine(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.progress.time_here.GPU_DRIVER", store.root.local_path)
    plan = build_plan(build_grid("digits", Choices(search={"trials": 0}), lambda _: 15), lambda _: 15)
    states = dict.fromkeys(plan.by_uid(), State.WAITING)
    assert time_here_text(plan, states, store, 2) == "", "a GPU is another matter"
    monkeypatch.setattr("orchestrator.progress.time_here.GPU_DRIVER", Path("/nowhere"))

    said = time_here_text(plan, states, store, 2)

    # By the table of step times: teacher and white box, then three pairs one after the other on each core.
    teacher, distill, *pairs = (node.recipe.epochs for node in plan.nodes)
    seconds = 20 * (0.0927 * teacher + 0.0405 * distill + 0.0596 * sum(pairs) / 2)
    assert said.startswith(span_text(0.5 * seconds, 2 * seconds) + " on the 2 cores of this machine")
    assert time_here_text(plan, dict.fromkeys(plan.by_uid(), State.DONE), store, 2) == ""
