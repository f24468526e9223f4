"""What a launch and `status` show: counts, running trials, the best pair and the time left."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.progress.live import Progress, render_overview, running_lines, summary_line
from orchestrator.progress.overview import Overview, overview_of
from orchestrator.progress.pace import TimeLeft
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from search_spaces.names import Goal
from search_spaces.stages.registry import Stage
from tests.orchestrator.made_up import pair_metrics, raised
from tests.orchestrator.search_driver import search_plan

SEARCH = {"keep_searching": True, "start_points": ("recipe",)}
PLAN: Plan = build_plan(build_grid("quick", Choices(search=SEARCH), lambda _: 15), lambda _: 15)
TEACHER, DISTILL = PLAN.nodes[:2]
DETRIMENTAL = [node for node in PLAN.nodes if node.cell and node.cell.goal is Goal.DETRIMENTAL]


def fresh(store: Store) -> Overview:
    return Overview(Snapshot(PLAN, store))


def finish(store: Store, node: Node, *, gap: float = 0.0, drop: float = 0.5) -> None:
    trial_of(store, node).write_result(pair_metrics(gap, drop), {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")


def text_of(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_counts_follow_the_events(store: Store) -> None:
    overview = fresh(store)
    overview.started(TEACHER)
    assert overview.counts()[Stage.TEACHER] == {"running": 1}
    finish(store, TEACHER)
    overview.snapshot.look_again(TEACHER)
    overview.ended(TEACHER)
    assert overview.counts() == {
        Stage.TEACHER: {"done": 1},
        Stage.DISTILL: {"waiting": 1},
        Stage.PAIR: {"waiting": 10},
    }


def test_trial_that_runs_is_not_skipped_when_its_cell_finds_the_pair(store: Store) -> None:
    plan = search_plan(budgets=(82,), trials=2)
    overview = overview_of(Snapshot(plan, store), has_driver=True)
    first, running = plan.nodes[2:4]
    for node in (first, running):
        trial_of(store, node).write_recipe(node, None)
        overview.snapshot.look_again(node)
        overview.started(node)
    assert overview.count.needed == 5, "the two trials that are paid for, and what comes before them"
    finish(store, first)
    overview.snapshot.look_again(first)
    overview.ended(first)
    assert overview.states[running.uid] is State.WAITING
    assert overview.count.needed == 4
    assert overview.counts()[Stage.PAIR] == {"done": 1, "running": 1, "skipped": 3}


def test_point_of_a_search_that_diverged_is_an_answer_and_a_pair_of_the_grid_that_diverged_is_not(
    store: Store,
) -> None:
    overview = fresh(store)
    overview.states.update(dict.fromkeys(overview.states, State.DONE))
    searched = next(node for node in DETRIMENTAL if node.is_of_search)
    overview.states[searched.uid] = State.DIVERGED
    assert overview.num_left() == 0
    overview.states[DETRIMENTAL[0].uid] = State.DIVERGED
    assert not DETRIMENTAL[0].is_of_search
    assert overview.num_left() == 1


def test_time_left_is_epochs_left_times_seconds_per_epoch(store: Store) -> None:
    overview = fresh(store)
    assert overview.time_left(1) is None
    epochs = {node.uid: node.recipe.model_dump()["epochs"] for node in PLAN.nodes}
    for node, seconds in ((TEACHER, 2.0), (DISTILL, 1.0), (DETRIMENTAL[0], 3.0)):
        overview.epoch(node, {"epoch": 1, "seconds": seconds})
    left = 2.0 * (epochs[TEACHER.uid] - 1) + 1.0 * (epochs[DISTILL.uid] - 1)
    left += 3.0 * (sum(epochs[node.uid] for node in PLAN.nodes[2:]) - 1)
    # A first epoch tells little.
    assert overview.time_left(1) == TimeLeft(pytest.approx(0.7 * left), pytest.approx(1.5 * left))


def test_best_pair_keeps_parity_first_and_then_drops_most(store: Store) -> None:
    overview = fresh(store)
    for node, gap, drop in zip(DETRIMENTAL, (0.05, 0.0, 0.0), (0.9, 0.3, 0.6), strict=False):
        finish(store, node, gap=gap, drop=drop)
        overview.snapshot.look_again(node)
        overview.ended(node)
    assert overview.best is not None
    assert overview.best.name == DETRIMENTAL[2].name


def test_status_tells_running_from_interrupted_by_the_driver(store: Store) -> None:
    finish(store, TEACHER)
    trial_of(store, DISTILL).write_recipe(DISTILL, None)
    trial_of(store, DISTILL).write_epoch([{"epoch": 3, "seconds": 1.5, "timestamp_ms": 0}], b"state")
    alive = overview_of(Snapshot(PLAN, store), has_driver=True)
    dead = overview_of(Snapshot(PLAN, store), has_driver=False)
    assert alive.counts()[Stage.DISTILL] == {"running": 1}
    assert alive.epochs[DISTILL.uid] == 3
    assert dead.counts()[Stage.DISTILL] == {"interrupted": 1}


def test_failures_show_their_first_line(store: Store) -> None:
    trial_of(store, TEACHER).write_error(raised(RuntimeError("out of luck\nand of patience")))
    overview = overview_of(Snapshot(PLAN, store), has_driver=False)
    assert overview.headlines == {TEACHER.uid: "RuntimeError: out of luck"}


def test_table_names_stages_running_trials_and_time_left(store: Store) -> None:
    overview = fresh(store)
    overview.epoch(DISTILL, {"epoch": 4, "seconds": 1.0})
    shown = text_of(render_overview(overview, 2))
    assert re.search(r"teacher\s+0\s+0\s+1", shown)
    assert f"distill/test_resnet  epoch 4/{DISTILL.recipe.model_dump()['epochs']}" in shown
    left = overview.time_left(2)
    assert left is not None
    assert f"0 of 12 trials done, 4 skipped; {left.text}" in shown or f"0 of 12 trials done; {left.text}" in shown


def test_summary_of_a_finished_sweep_claims_no_time_left(store: Store) -> None:
    for node in PLAN.nodes:
        finish(store, node)
    line = summary_line(overview_of(Snapshot(PLAN, store), has_driver=False), 2)
    assert line.startswith("12 of 12 trials done; best pair drops 50.0 pp")
    assert "left" not in line


def test_without_a_terminal_progress_is_plain_lines(store: Store) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    with Progress(fresh(store), console, num_parallel=2) as progress:
        progress.started(TEACHER, {})
        progress.epoch(TEACHER, {"epoch": 1, "seconds": 1.0, "train/loss": 0.5, "validation/accuracy": 0.9})
        assert "epoch 1/" in running_lines(progress.overview)[0]
        assert "loss 0.5, 90.0 %" in running_lines(progress.overview)[0]
        finish(store, TEACHER)
        progress.overview.snapshot.look_again(TEACHER)
        progress.ended(TEACHER)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("[0:00:00] starting 2 workers")
    assert lines[1] == f"[0:00:00] started {TEACHER.name} ({TEACHER.uid})"
    assert lines[-1] == f"[0:00:00] done {TEACHER.name}: FP 66.0 %, quantized 62.0 %"
    assert "\x1b" not in "".join(lines)


def test_trials_without_an_epoch_are_decoding_until_the_cache_has_the_images(store: Store, tmp_path: Path) -> None:
    console, cache = Console(file=io.StringIO(), width=120, force_terminal=False), tmp_path / "pets.arrow"
    with Progress(fresh(store), console, num_parallel=2, decoding=(3680, cache)) as progress:
        progress.started(TEACHER, {})
        waits = text_of(progress._render())
        cache.touch()
        starts = text_of(progress._render())
    assert "the first one is decoding 3,680 images (cached afterwards), and" in console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{TEACHER.name}  decoding 3,680 images (cached afterwards)" in waits
    assert f"{TEACHER.name}  starting" in starts


def test_in_a_terminal_progress_redraws_a_table(store: Store) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with Progress(fresh(store), console, num_parallel=2) as progress:
        progress.started(TEACHER, {})
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "stage" in drawn
    assert "starting" in drawn
