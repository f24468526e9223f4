"""A storage that goes away is waited for, said once, and given up after a bound."""

import threading
import time
from types import SimpleNamespace

import pytest

from orchestrator.launch.frontier import Frontier
from orchestrator.launch.listeners import Forgiving, Relay
from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.places.patience import AwayError, Patience
from orchestrator.store.store import Store
from search_spaces.errors import UnreachableError
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.buckets import Proxy

PLAN: Plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)


def test_server_that_comes_back_in_time_costs_a_frontier_nothing_but_time(
    proxy: Proxy, behind: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    behind.wait_for(60, said.append)
    frontier = Frontier(Snapshot(PLAN, behind), {}, data_dir=None, stop_file="sweeps/s/stop")
    proxy.is_away = True
    threading.Timer(2.0, setattr, (proxy, "is_away", False)).start()
    config = frontier.suggest("t0")
    assert isinstance(config, dict)
    assert config["uid"] == PLAN.nodes[0].uid
    assert behind.trial("teacher", PLAN.nodes[0].uid).exists("recipe.json")
    first, second = said
    assert first.startswith("s3://")
    assert "asking again for 60 s; nothing new starts" in first
    assert second.endswith("answers again")


def test_server_that_stays_away_ends_the_launch_in_one_line_and_all_later_calls_at_once(
    proxy: Proxy, behind: Store
) -> None:
    said = list[str]()
    behind.wait_for(1.0, said.append)
    frontier = Frontier(Snapshot(PLAN, behind), {}, data_dir=None, stop_file="sweeps/s/stop")
    proxy.is_away = True
    with pytest.raises(UnreachableError, match=r"^cannot read s3://\S+stop: .*Check the bucket, the network"):
        frontier.suggest("t0")
    assert not frontier.ready or frontier.pending, "nothing was handed out"
    asked, began = proxy.asked.total(), time.monotonic()
    for _ in range(50):
        with pytest.raises(UnreachableError):
            behind.root.write_bytes("x", b"")
    assert proxy.asked.total() == asked
    assert time.monotonic() - began < 5
    assert len(said) == 1


def test_outage_is_one_for_all_threads_and_over_with_the_first_answer() -> None:
    said = list[str]()
    patience, is_away = Patience(30, said.append), threading.Event()
    is_away.set()

    def call() -> int:
        if is_away.is_set():
            raise AwayError("refused")
        return 7

    answers = list[int]()
    threads = [threading.Thread(target=lambda: answers.append(patience.ask(call, "s3://b"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    is_away.clear()
    for thread in threads:
        thread.join()
    assert answers == [7] * 8
    assert said == [
        "s3://b does not answer (refused): asking again for 30 s; nothing new starts",
        "s3://b answers again",
    ]


def test_command_that_only_looks_does_not_wait() -> None:
    calls = list[int]()

    def call() -> None:
        calls.append(1)
        raise AwayError("refused")

    for _ in range(2):
        with pytest.raises(AwayError):
            Patience().ask(call, "s3://b")
    assert len(calls) == 2


def test_listener_that_fails_ends_no_launch_and_is_named_once(store: Store) -> None:
    heard, said = list[str](), list[str]()

    class Broken:
        def started(self, *about: object) -> None:
            raise OSError("database is locked")

        epoch = ended = started

    class Working:
        def started(self, *about: object) -> None:
            heard.append("x")

        epoch = ended = started

    relay = Relay(Snapshot(PLAN, store), [Broken(), Working()], Forgiving(said.append))
    trial = SimpleNamespace(config={"uid": PLAN.nodes[0].uid})
    relay.on_trial_start(0, [], trial)
    relay.on_trial_result(0, [], trial, {"row": {"epoch": 1}})
    relay.on_trial_complete(0, [], trial)
    assert len(heard) == 3
    assert said == ["broken failed, and the launch goes on without it: database is locked"]


def test_study_that_cannot_be_told_ends_no_launch(store: Store) -> None:
    node = next(node for node in PLAN.nodes if node.is_searched)
    said = list[str]()

    class FullDisk:
        def reconcile(self, trials: object) -> None:
            pass

        def report(self, *about: object) -> bool:
            raise OSError("No space left on device")

        tell = report

    studies = {node.cell_id: FullDisk()}
    frontier = Frontier(Snapshot(PLAN, store), studies, data_dir=None, stop_file="sweeps/s/stop")  # type: ignore[arg-type]
    frontier.forgiving = Forgiving(said.append)
    frontier._running["t0"] = node
    assert frontier.prunes("t0", {"epoch": 1}) is False
    frontier._tell(node)
    assert said == ["Optuna failed, and the launch goes on without it: No space left on device"]
