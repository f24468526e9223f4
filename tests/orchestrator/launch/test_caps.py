"""A cap lets no further trial start, whatever it caps, and the sweep can go on later."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from ray.tune.search import Searcher

from orchestrator.cli.sweep.launch import command
from orchestrator.launch.caps import Meter
from orchestrator.launch.frontier import Frontier
from orchestrator.plan import Plan, build_plan
from orchestrator.progress.status import read_status, status_as_json, usage_line
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Caps, Sweep
from orchestrator.store.trial import trial_of
from orchestrator.store.usage import GPU_SECONDS, Usage
from search_spaces.errors import UnwritableError
from search_spaces.grids.build import Choices, build_grid

HOUR = 3600.0
PLAN: Plan = build_plan(build_grid("quick", Choices(), lambda _: 15), lambda _: 15)
FIRST, SECOND = PLAN.nodes[:2]


class Clock:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def meter_of(clock: Clock, share: float = 0.0, before: Usage | None = None, **caps: float) -> Meter:
    meter = Meter(Caps(**caps), clock=clock)
    open_meter(meter, before or Usage(), share)
    return meter


def open_meter(meter: Meter, in_epochs: Usage, share: float, outside: Usage | None = None) -> list[Usage]:
    """Returns what the meter saves, as it does so."""
    saved: list[Usage] = []
    meter.open(in_epochs, {node.uid: share for node in PLAN.nodes}, outside=outside or Usage(), save=saved.append)
    return saved


def test_without_caps_everything_may_start() -> None:
    clock = Clock()
    meter = meter_of(clock)
    clock.now += 1e9
    assert meter.may_start()
    assert meter.hit is None


def test_hours_count_by_the_clock_of_the_launch() -> None:
    clock = Clock()
    meter = meter_of(clock, max_hours=2)
    clock.now += 2 * HOUR - 1
    assert meter.may_start()
    clock.now += 1
    assert not meter.may_start()
    assert meter.hit == "--max-hours 2 (2.00 h since the launch)"


def test_gpu_hours_count_the_store_finished_epochs_and_what_runs() -> None:
    clock = Clock()
    meter = meter_of(clock, 0.5, Usage(gpu_hours=1.0), max_gpu_hours=3)
    meter.started(FIRST, {})
    meter.started(SECOND, {})
    clock.now += HOUR
    # The epoch took half an hour of GPU as measured; the other trial has run for as long, unmeasured.
    meter.epoch(FIRST, {"epoch": 1, "seconds": HOUR, GPU_SECONDS: HOUR / 2})
    assert meter.may_start()
    clock.now += HOUR - 36
    assert meter.may_start()
    clock.now += 36
    assert not meter.may_start()
    assert meter.hit == "--max-gpu-hours 3 (3.00 GPU-hours taken)"


def test_a_trial_that_ended_takes_nothing_more() -> None:
    clock = Clock()
    meter = meter_of(clock, 1.0, max_gpu_hours=2)
    meter.started(FIRST, {})
    clock.now += HOUR
    meter.ended(FIRST)
    clock.now += 10 * HOUR
    assert meter.may_start()


def test_start_up_saving_and_what_comes_after_the_last_epoch_count() -> None:
    clock = Clock()
    meter = meter_of(clock, 1.0, max_gpu_hours=3)
    meter.started(FIRST, None)
    clock.now += 1.5 * HOUR  # of which the epoch took a third
    meter.epoch(FIRST, {"epoch": 1, "seconds": HOUR / 2, GPU_SECONDS: HOUR / 2})
    assert meter.may_start()
    clock.now += 1.5 * HOUR
    meter.ended(FIRST)
    assert not meter.may_start()
    assert meter.hit == "--max-gpu-hours 3 (3.00 GPU-hours taken)"


def test_an_epoch_that_was_lost_with_its_worker_counts_and_so_does_the_one_that_repeats_it() -> None:
    clock = Clock()
    meter = meter_of(clock, 0.5, max_cost=12, price_per_hour=10)
    for _ in range(2):
        meter.started(FIRST, None)
        clock.now += HOUR
        meter.ended(FIRST)  # its worker died in the first epoch
    assert meter.may_start()
    meter.started(FIRST, None)
    clock.now += HOUR
    meter.epoch(FIRST, {"epoch": 1, "seconds": HOUR, GPU_SECONDS: HOUR / 2})
    assert not meter.may_start()
    assert meter.hit == "--max-cost 12 (1.50 h at 10 are 15.00)"


def test_a_trial_that_got_a_whole_gpu_counts_as_much_from_its_first_epoch_on() -> None:
    clock = Clock()
    meter = meter_of(clock, 0.25, max_gpu_hours=3)
    meter.started(FIRST, None)
    clock.now += HOUR
    meter.epoch(FIRST, {"epoch": 1, "seconds": HOUR, GPU_SECONDS: HOUR})
    clock.now += 2 * HOUR
    assert not meter.may_start()


def test_time_outside_of_epochs_counts_in_later_launches_and_that_in_epochs_not_twice() -> None:
    clock = Clock()
    meter = Meter(Caps(), clock=clock)
    saved = open_meter(meter, Usage(), 0.5, outside=Usage(cpu_hours=1.0, gpu_hours=1.0, paid_hours=1.0))
    meter.started(FIRST, None)
    clock.now += 3 * HOUR
    meter.epoch(FIRST, {"epoch": 1, "seconds": HOUR, GPU_SECONDS: HOUR / 2})
    assert saved == [Usage(cpu_hours=3.0, gpu_hours=2.0, paid_hours=2.0)]
    meter.started(SECOND, None)
    clock.now += HOUR
    meter.close()
    # Both run, and what they took since their last epoch is lost if the driver dies now.
    assert saved[-1] == Usage(cpu_hours=5.0, gpu_hours=3.0, paid_hours=3.0)
    again = Meter(Caps(max_gpu_hours=3.5), clock=clock)
    open_meter(again, Usage(gpu_hours=0.5), 0.5, outside=saved[-1])
    assert not again.may_start()
    assert again.hit == "--max-gpu-hours 3.5 (3.50 GPU-hours taken)"


def test_time_outside_of_epochs_is_saved_at_most_once_a_minute_and_at_the_end() -> None:
    clock = Clock()
    meter = Meter(Caps(), clock=clock)
    saved = open_meter(meter, Usage(), 0.0)
    for _ in range(20):
        meter.started(FIRST, None)
        clock.now += 10
        meter.ended(FIRST)
    assert len(saved) == 3
    meter.close()
    assert saved[-1].cpu_hours == pytest.approx(200 / HOUR)


def test_a_full_storage_keeps_no_launch_from_counting() -> None:
    clock = Clock()
    meter = Meter(Caps(max_cost=1, price_per_hour=1), clock=clock)

    def fail(usage: Usage) -> None:
        raise UnwritableError("cannot write outside_epochs.json: No space left on device.")

    meter.open(Usage(), {}, outside=Usage(), save=fail)
    meter.started(FIRST, None)
    clock.now += HOUR
    meter.ended(FIRST)
    meter.close()
    assert not meter.may_start()


def test_hours_outside_of_epochs_lie_in_the_sweeps_folder_and_show_in_its_status(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_plan(PLAN)
    assert sweep.outside_epochs() == Usage()
    trial_of(store, FIRST).write_epoch([{"epoch": 1, "seconds": HOUR, "timestamp_ms": 0}], b"state")
    sweep.save_outside_epochs(Usage(cpu_hours=0.5, gpu_hours=0.25, paid_hours=0.25))
    status = read_status(sweep, PLAN, price_per_hour=4)
    assert usage_line(status) == "1.50 CPU-hours, 0.25 GPU-hours so far, 5.00 at 4 per hour"
    assert (status_as_json(status)["cpu_hours"], status_as_json(status)["cost"]) == (1.5, 5.0)


def test_cost_is_of_gpus_where_there_are_any_and_of_cores_elsewhere() -> None:
    clock = Clock()
    on_gpu = meter_of(clock, 0.25, max_cost=10, price_per_hour=4)
    on_cpu = meter_of(clock, 0.0, max_cost=10, price_per_hour=4)
    for meter in (on_gpu, on_cpu):
        meter.started(FIRST, {})
    clock.now += 2.5 * HOUR
    assert on_gpu.may_start()
    assert not on_cpu.may_start()
    assert on_cpu.hit == "--max-cost 10 (2.50 h at 4 are 10.00)"
    clock.now += 7.5 * HOUR
    assert not on_gpu.may_start()


def test_frontier_ends_with_what_runs_and_a_relaunch_goes_on(store: Store) -> None:
    allowed = [True]
    frontier = Frontier(Snapshot(PLAN, store), {}, data_dir=None, stop_file="stop")
    frontier.limit(lambda: allowed[0], lambda: 2)
    assert isinstance(frontier.suggest("a"), dict)
    trial_of(store, FIRST).write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    frontier.on_trial_complete("a")
    assert isinstance(frontier.suggest("b"), dict)
    allowed[0] = False
    assert frontier.suggest("c") is None
    trial_of(store, SECOND).write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    frontier.on_trial_complete("b")
    assert frontier.suggest("d") == Searcher.FINISHED
    again = Frontier(Snapshot(PLAN, store), {}, data_dir=None, stop_file="stop")
    # Of the eight trials that the searched cell may take four are paid for.
    assert len(again.pending) == len(PLAN.nodes) - 2 - 4
    assert isinstance(again.suggest("e"), dict)


def test_cost_without_a_price_is_refused_before_anything_runs(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--max-cost", "3", "--storage", str(tmp_path / "s")])
    assert result.exit_code == 2
    assert "--max-cost needs --price-per-hour" in result.output
    assert not (tmp_path / "s").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_capped_launch_exits_with_0_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, told = tmp_path / "storage", tmp_path / "told"
    monkeypatch.chdir(tmp_path)
    # A ten-thousandth of an hour: over before the first trial is, so that nothing follows it.
    caps = ["--max-hours", "0.0001", "--on-event", f"cat >> {told}; echo $DPTQ_EVENT >> {told}"]
    result = CliRunner().invoke(command, ["--grid", "smoke", "--storage", str(storage), *caps], obj=())
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if "is hit" in line)
    assert line.startswith("--max-hours 0.0001 (0.0")
    assert line.endswith(f"dptq-sweep resume smoke --storage {storage}")
    assert told.read_text().endswith("cap-hit\n")
    plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
    states = {trial_of(Store(str(storage)), node).state() for node in plan.nodes}
    assert State.FAILED not in states
    assert State.WAITING in states
