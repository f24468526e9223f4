"""A sweep's name stands for one plan, stays in the storage, and has one driver at a time."""

import subprocess
import sys

import pytest

from orchestrator.plan import Plan, build_plan
from orchestrator.store import Store
from orchestrator.sweeps import PLAN, Sweep, latest_sweep_name
from search_spaces.errors import ConfigError, StorageError, UnknownNameError
from search_spaces.grids import Choices, build_grid


def sites(architecture: str) -> int:
    return 15


def plan_of(**choices: object) -> Plan:
    return build_plan(build_grid("quick", Choices(**choices), sites), sites)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\nb", "a b"])
def test_names_cannot_leave_the_storage(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a folder"):
        Sweep(store, name)


def test_plans_come_back(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_plan(plan_of())
    sweep.save_plan(plan_of())
    assert sweep.load_plan(sites) == plan_of()


def test_a_name_with_another_plan_is_refused(store: Store) -> None:
    Sweep(store, "mine").save_plan(plan_of())
    with pytest.raises(ConfigError, match=r"'mine' exists with another plan \(12 trials, this one has 8\)"):
        Sweep(store, "mine").save_plan(plan_of(budgets=(80,)))


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
        Sweep(store, name).save_launch(["launch"])
    assert latest_sweep_name(store) == "a"


def test_storage_without_sweeps_says_how_to_start(store: Store) -> None:
    with pytest.raises(ConfigError, match="start one with `dptq-sweep launch`"):
        latest_sweep_name(store)


def test_second_driver_is_refused_and_a_killed_one_leaves_no_lock(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_plan(plan_of())
    code = (
        "import sys; from orchestrator.store import Store; from orchestrator.sweeps import Sweep\n"
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


def test_launch_command_can_be_typed_again(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_launch(["launch", "--storage", "with space"])
    assert sweep.launch_command() == "dptq-sweep launch --storage 'with space'"
