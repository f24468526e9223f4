"""A sweep's name stands for one plan, stays in the storage, and has one driver at a time."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.plan import Plan, build_plan
from orchestrator.store.leases.sweeps import OWNER, Pace, read_owner
from orchestrator.store.store import Store
from orchestrator.store.sweep import PLAN, Caps, LaunchOptions, Sweep, latest_sweep_name
from search_spaces.errors import ConfigError, StorageError, UnknownNameError
from search_spaces.grids.build import Choices, build_grid
from tests.waiting import PATIENCE_SECONDS, wait_until

SEARCH = {"keep_searching": True, "start_points": ("recipe",)}


def sites(architecture: str) -> int:
    return 15


def plan_of(**choices: object) -> Plan:
    choices = {"search": SEARCH} | choices
    return build_plan(build_grid("quick", Choices(**choices), sites), sites)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\nb", "a b"])
def test_names_cannot_leave_the_storage(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a folder"):
        Sweep(store, name)


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ({}, ""),
        ({"max_hours": 1.5}, "--max-hours 1.5"),
        ({"max_gpu_hours": 8.0, "price_per_hour": 2.0}, "--max-gpu-hours 8"),
        ({"max_cost": 10.0}, "--max-cost 10"),
        ({"max_hours": 3.0, "max_cost": 10.0, "price_per_hour": 0.5}, "--max-hours 3, --max-cost 10 at 0.5 per hour"),
    ],
)
def test_caps_are_said_as_options_and_a_price_beside_the_cost_that_it_makes(caps: dict[str, float], said: str) -> None:
    assert str(Caps(**caps)) == said


def test_plans_come_back(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_plan(plan_of())
    sweep.save_plan(plan_of())
    assert sweep.load_plan(sites) == plan_of()


def test_a_name_with_another_plan_is_refused_and_the_difference_named(store: Store) -> None:
    Sweep(store, "mine").save_plan(plan_of())
    lacks = r"'mine' exists with another plan \(12 trials, this one has 8 and lacks 10 of them, such as [0-9a-f]{16}\)"
    with pytest.raises(ConfigError, match=lacks):
        Sweep(store, "mine").save_plan(plan_of(budgets=(80,)))
    assert Sweep(store, "mine").load_plan(sites) == plan_of()


def test_a_sweep_of_the_grid_that_quick_was_goes_on_as_digits(store: Store) -> None:
    before, now = (build_plan(build_grid(name, Choices(), sites), sites) for name in ("digits", "quick"))
    sweep = Sweep(store, "quick")
    sweep.save_plan(before)
    hint = f"lacks 16 of them.* or finish it as it is with `dptq-sweep resume quick --storage {re.escape(store.uri)}`"
    with pytest.raises(ConfigError, match=hint) as refusal:
        sweep.save_plan(now)
    assert "\n" not in str(refusal.value)
    assert [node.uid for node in sweep.load_plan(sites).nodes] == [node.uid for node in before.nodes]
    assert sweep.save_plan(before) == 0


def test_more_seeds_extend_a_sweep_and_fewer_do_not_shrink_it(store: Store) -> None:
    sweep = Sweep(store, "mine")
    assert sweep.save_plan(plan_of()) == 0
    assert sweep.save_plan(plan_of(seeds=(0, 1))) == 10
    assert sweep.load_plan(sites) == plan_of(seeds=(0, 1))
    with pytest.raises(ConfigError, match="lacks 10 of them"):
        sweep.save_plan(plan_of())


def test_a_longer_search_extends_a_sweep_and_may_confirm_another_pair(store: Store) -> None:
    sweep = Sweep(store, "mine")
    short, long = (plan_of(search={"trials": trials, "confirm_seeds": 2}) for trials in (2, 3))
    sweep.save_plan(short)
    assert sweep.save_plan(long) == 4, "two trials, for one cell may take twice its share, and two confirmations"
    assert sweep.load_plan(sites) == long
    for less in (short, plan_of(search={"trials": 3, "confirm_seeds": 0})):
        with pytest.raises(ConfigError, match="lacks 2 of them"):
            sweep.save_plan(less)


def test_a_plan_whose_grid_was_edited_is_refused(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_plan(plan_of())
    content = sweep.folder.read_json(PLAN)
    assert content is not None
    sweep.folder.write_json(PLAN, content | {"uids": content["uids"][:-1]})
    with pytest.raises(StorageError, match="names 11 trials, and its grid gives 12 others"):
        sweep.load_plan(sites)


def test_plan_from_before_searches_had_settings_is_refused_with_a_cure(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_plan(plan_of())
    content = sweep.folder.read_json(PLAN)
    assert content is not None
    del content["grid"]["search"]
    sweep.folder.write_json(PLAN, content)
    hint = r"written by another version\. Launch the grid again under another --name"
    with pytest.raises(StorageError, match=hint) as it:
        sweep.load_plan(sites)
    assert "\n" not in str(it.value)


def test_unknown_sweep_names_the_nearest(store: Store) -> None:
    Sweep(store, "quick").save_plan(plan_of())
    with pytest.raises(UnknownNameError, match=r"unknown sweep 'quik'. Did you mean 'quick'"):
        Sweep(store, "quik").load_plan(sites)


def test_plan_of_another_schema_is_refused(store: Store) -> None:
    Sweep(store, "old").folder.write_json(PLAN, {"schema": 0})
    with pytest.raises(StorageError, match="has schema 0"):
        Sweep(store, "old").load_plan(sites)


def test_latest_sweep_is_the_one_launched_last(store: Store) -> None:
    for name in ("b", "c", "a"):
        Sweep(store, name).save_plan(plan_of())
        Sweep(store, name).save_launch(LaunchOptions())
    assert latest_sweep_name(store) == "a"


def test_storage_without_sweeps_says_how_to_start(store: Store) -> None:
    with pytest.raises(ConfigError, match="start one with `dptq-sweep launch`"):
        latest_sweep_name(store)


def test_second_driver_is_refused_and_a_killed_one_leaves_no_lock(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_plan(plan_of())
    code = (
        "import sys; from orchestrator.store.store import Store; from orchestrator.store.sweep import Sweep\n"
        f"with Sweep(Store({store.uri!r}), 'mine').driver(): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        assert sweep.has_driver()
        with pytest.raises(ConfigError, match="is being run by another process"), sweep.driver():
            pass
        other.kill()
        other.wait()
    assert not sweep.has_driver()
    with sweep.driver():
        assert sweep.has_driver()


def test_who_may_only_read_a_storage_sees_whether_a_driver_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, open_file = Sweep(store, "mine"), os.open

    def open_for_readers(path: str, flags: int, *arguments: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(f"{path} belongs to another user")
        return open_file(path, flags, *arguments)

    with sweep.driver():
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", open_for_readers)
            assert sweep.has_driver()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_for_readers)
        assert not sweep.has_driver()


def test_refused_driver_learns_who_owns_the_sweep(store: Store) -> None:
    sweep = Sweep(store, "mine")
    name = rf"\(process {os.getpid()} on {re.escape(socket.gethostname())}\)"
    with sweep.driver(), pytest.raises(ConfigError, match=name), Sweep(store, "mine").driver():
        pass


FAST = Pace(beat_seconds=0.1, dead_seconds=0.6, settle_seconds=0.1)
"""Where the other driver is dead. A living one that gets no turn on a busy machine would seem so, too."""
PATIENT = Pace(beat_seconds=0.1, dead_seconds=PATIENCE_SECONDS, settle_seconds=0.1)


def owner_elsewhere(sweep: Sweep, beat: int, *, beat_at: float = 0.0) -> None:
    owner = {"id": "other", "host": "elsewhere", "pid": 7, "started_at": 0.0, "beat": beat, "beat_at": beat_at}
    sweep.folder.write_json(OWNER, owner)


@pytest.mark.parametrize("beat_at", [0.0, 4e9], ids=["long ago", "in the future"])
def test_lock_of_a_dead_machine_is_taken_over_whatever_the_clocks_say(store: Store, beat_at: float) -> None:
    sweep = Sweep(store, "mine")
    owner_elsewhere(sweep, 3, beat_at=beat_at)
    said: list[str] = []
    with sweep.driver(said.append, pace=FAST):
        assert (read_owner(sweep.folder) or {})["pid"] == os.getpid()
    assert said[-1] == "taking sweep mine over from process 7 on elsewhere, which ended without a word"
    assert read_owner(sweep.folder) is None


def test_living_driver_on_another_machine_is_respected(store: Store) -> None:
    sweep = Sweep(store, "mine")
    owner_elsewhere(sweep, 0)
    is_over = threading.Event()

    def live() -> None:
        beat = 0
        while not is_over.wait(0.1):
            beat += 1
            owner_elsewhere(sweep, beat)  # its clock stands still all the time

    heart = threading.Thread(target=live)
    heart.start()
    try:
        with pytest.raises(ConfigError, match="process 7 on elsewhere"), sweep.driver(pace=PATIENT):
            pass
    finally:
        is_over.set()
        heart.join()


def test_heart_beats_and_notices_that_another_took_over(store: Store) -> None:
    sweep = Sweep(store, "mine")
    lost = threading.Event()
    with sweep.driver(pace=FAST, on_loss=lost.set):
        first = read_owner(sweep.folder)
        assert first is not None
        wait_until(lambda: (read_owner(sweep.folder) or first)["beat"] > first["beat"])
        assert not lost.is_set()

        def take_over() -> bool:
            # Again, for a beat that was under way writes over it.
            owner_elsewhere(sweep, 1)
            return lost.wait(FAST.beat_seconds)

        wait_until(take_over)
    # What belongs to the other stays.
    assert (read_owner(sweep.folder) or {})["host"] == "elsewhere"


@pytest.mark.parametrize("clock", [0.0, 4e9], ids=["slow", "fast"])
def test_driver_whose_clock_is_wrong_is_seen_and_can_be_stopped(store: Store, clock: float) -> None:
    sweep = Sweep(store, "mine")
    owner_elsewhere(sweep, 0, beat_at=clock)
    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(sweep.has_driver, pace=Pace(beat_seconds=2.0))
        beat = 0
        while not seen.done():
            beat += 1
            owner_elsewhere(sweep, beat, beat_at=clock)
            time.sleep(0.01)
    assert seen.result()
    assert not sweep.has_driver(pace=FAST), "its heart beats no more, whatever its clock says"


def test_torn_owner_file_does_not_lock_a_sweep_for_ever(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.folder.write_bytes(OWNER, b'{"id": "o')
    with sweep.driver(pace=FAST):
        assert sweep.has_driver()


def test_stop_is_forgotten_by_the_next_launch(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.ask_to_stop()
    assert store.root.exists(sweep.stop_file)
    with sweep.driver():
        assert not store.root.exists(sweep.stop_file)


def test_launch_options_come_back(store: Store) -> None:
    sweep = Sweep(store, "mine")
    assert sweep.launch_options() == LaunchOptions()
    options = LaunchOptions(data_dir=Path("/data"), address="auto", gpus_per_trial=0.5, max_retries=5)
    sweep.save_launch(options)
    assert sweep.launch_options() == options


def test_resume_command_can_be_typed(tmp_path: Path) -> None:
    sweep = Sweep(Store(str(tmp_path / "with space")), "mine")
    assert sweep.resume_command("--failed") == f"dptq-sweep resume mine --failed --storage '{sweep.store.uri}'"
