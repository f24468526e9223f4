"""`status` tells from the store alone what runs, what it took, what was best and what failed."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from orchestrator.cli.sweep.status import command
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.progress.status import Status, read_status, watch
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.store.trial import trial_of
from orchestrator.store.usage import GPU_SECONDS
from search_spaces.errors import NonFiniteLossError
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.made_up import pair_metrics, raised

PLAN: Plan = build_plan(build_grid("quick", Choices(), lambda _: 15), lambda _: 15)
TEACHER, DISTILL, *PAIRS = PLAN.nodes
SEARCHED = [node for node in PAIRS if node.cell and node.cell.search_trials]


@pytest.fixture
def sweep(store: Store) -> Sweep:
    sweep = Sweep(store, "quick")
    sweep.save_plan(PLAN)
    sweep.save_launch(LaunchOptions())
    return sweep


def run_epochs(store: Store, node: Node, count: int, *, seconds: float = 36.0, gpu_share: float = 0.0) -> None:
    on_gpu = {GPU_SECONDS: gpu_share * seconds} if gpu_share else {}
    rows = [{"epoch": epoch, "seconds": seconds, "timestamp_ms": 0} | on_gpu for epoch in range(1, count + 1)]
    folder = trial_of(store, node)
    folder.write_recipe(node, None)
    folder.write_epoch(rows, b"state")


def finish(store: Store, node: Node, *, drop: float = 0.5, gap: float = 0.0) -> None:
    trial_of(store, node).write_result(pair_metrics(gap, drop), {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")


def status(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--storage", store.uri])


def test_hours_and_cost_are_those_of_the_stored_epochs(store: Store, sweep: Sweep) -> None:
    run_epochs(store, TEACHER, 100, gpu_share=0.25)
    run_epochs(store, DISTILL, 50)
    shown = json.loads(status(store, "--json", "--price-per-hour", "8").output)
    assert shown["cpu_hours"] == pytest.approx(1.5)
    assert shown["gpu_hours"] == pytest.approx(0.25)
    # A quarter of a GPU for an hour, and a core alone for half an hour.
    assert shown["cost"] == pytest.approx(8 * 0.75)
    assert "1.50 CPU-hours, 0.25 GPU-hours so far, 6.00 at 8 per hour" in status(store, "--price-per-hour", "8").output


def test_every_failure_comes_with_the_command_that_resumes_it(store: Store, sweep: Sweep) -> None:
    trial_of(store, TEACHER).write_error(RuntimeError("out of luck"))
    hint = f"dptq-sweep resume quick --failed --only {TEACHER.uid} --storage {store.uri}"
    assert hint in status(store).output
    assert [each["resume"] for each in json.loads(status(store, "--json").output)["failures"]] == [hint]


def test_best_pair_of_a_cell_keeps_parity_before_it_drops(store: Store, sweep: Sweep) -> None:
    for node, drop, gap in zip(SEARCHED, (0.9, 0.4, 0.6), (0.1, 0.0, 0.0), strict=False):
        finish(store, node, drop=drop, gap=gap)
    best = json.loads(status(store, "--json").output)["best_by_cell"]
    assert {cell: pair["name"] for cell, pair in best.items()} == {SEARCHED[0].cell_id: SEARCHED[2].name}
    assert "60.0 pp" in status(store).output


def test_a_search_that_skipped_trials_needs_no_finishing(store: Store, sweep: Sweep) -> None:
    first, diverged, pruned, *_ = SEARCHED[:5]
    for node in (TEACHER, DISTILL, *(node for node in PAIRS if node not in SEARCHED), first):
        finish(store, node, drop=0.05)
    trial_of(store, diverged).write_recipe(diverged, None)
    trial_of(store, diverged).write_error(raised(NonFiniteLossError("the loss became nan")))
    assert "finish it with: dptq-sweep resume quick" in status(store).output
    trial_of(store, pruned).write_recipe(pruned, None)
    trial_of(store, pruned).write_pruned(4)
    finish(store, SEARCHED[3])

    shown = status(store).output

    assert json.loads(status(store, "--json").output)["counts"]["pair"]["skipped"] > 0
    assert "finish it with" not in shown
    # All but the one that diverged, which would only do so again.
    assert "10 of 11 trials done, 1 failed" in shown


def test_json_says_what_every_search_found_and_what_that_cost(store: Store, sweep: Sweep) -> None:
    finish(store, SEARCHED[0])
    (search,) = json.loads(status(store, "--json").output)["searches"]
    assert (search["cell"], search["verdict"]) == (SEARCHED[0].cell_id, "parity lost")
    assert (search["trials_to_first"], search["device_seconds_to_first"]) == (1, 1.0)


def test_running_trials_show_epoch_and_time_left(store: Store, sweep: Sweep) -> None:
    run_epochs(store, TEACHER, 3, seconds=10.0)
    num_epochs = TEACHER.recipe.model_dump()["epochs"]
    with sweep.driver():
        shown = json.loads(status(store, "--json").output)
        assert re.search(rf"epoch 3/{num_epochs}  \d+ to \d+ (s|min) left", status(store).output)
    assert shown["running"] == [
        {
            "uid": TEACHER.uid,
            "name": TEACHER.name,
            "epoch": 3,
            "num_epochs": num_epochs,
            "measured": {},
            "eta_seconds_low": pytest.approx(7.0 * (num_epochs - 3)),
            "eta_seconds_high": pytest.approx(15.0 * (num_epochs - 3)),
        }
    ]


def test_analyses_are_counted_once_there_are_any(store: Store, sweep: Sweep) -> None:
    finish(store, SEARCHED[0])
    assert json.loads(status(store, "--json").output)["analyses"] == {"done": 0, "total": 0}
    store.root.folder("analysis/someone-elses").write_json("recipe.json", {})
    total = json.loads(status(store, "--json").output)["analyses"]["total"]
    assert total > 0
    assert f"0/{total} analyses done" in status(store).output


def followed(reads: Callable[[], Status], *, terminal: bool) -> tuple[Status, str]:
    console = Console(file=io.StringIO(), width=150, force_terminal=terminal)
    last = watch(reads, console, refresh_seconds=0)
    return last, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("terminal", [False, True])
def test_watch_follows_until_the_sweep_has_no_driver(store: Store, sweep: Sweep, terminal: bool) -> None:
    def story() -> Iterator[Status]:
        with sweep.driver():
            yield read_status(sweep, PLAN)
            yield read_status(sweep, PLAN)
            finish(store, TEACHER)
            yield read_status(sweep, PLAN)
        yield read_status(sweep, PLAN)

    moments = story()
    last, printed = followed(lambda: next(moments), terminal=terminal)
    assert not last.has_driver
    assert last.overview.states[TEACHER.uid] is State.DONE
    assert "1 of 12 trials done" in printed
    if not terminal:
        # A pipe gets a line per change, not one per look.
        counts = [line.split(",")[0] for line in printed.splitlines()]
        assert counts == ["0 of 12 trials done", "1 of 12 trials done"]


def test_watch_and_json_exclude_each_other(store: Store, sweep: Sweep) -> None:
    result = status(store, "--watch", "--json")
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_status_writes_nothing(store: Store, sweep: Sweep) -> None:
    run_epochs(store, TEACHER, 1)
    root = store.root.local_path
    assert root is not None

    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "driver.lock"}

    before = files()
    assert status(store).exit_code == 0
    assert files() == before
