"""Two sweeps that have the same pairs: each unit of their analyses is computed once, and the other sweep waits."""

import threading
from typing import Any

import pytest

from orchestrator.analyses import runner
from orchestrator.analyses.runner import AnalysisRun
from orchestrator.analyses.tasks import AnalysisTask
from orchestrator.plan import ANALYSIS
from orchestrator.store.analysis import AnalysisFolder
from orchestrator.store.leases import shared
from orchestrator.store.leases.trials import Leases
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.workers import analysis as worker
from search_spaces.analyses import Layers
from tests.waiting import wait_until
from trainables.analyses.trained_pair import Unit

UIDS = ("0" * 16, "1" * 16)
TASKS = [AnalysisTask(uid=uid, name=f"layers/{uid}", analysis=Layers(), subjects=()) for uid in UIDS]


class Listener:
    """Remembers what ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str | None]] = []

    def advanced(self, task: AnalysisTask, num_images: int) -> None:
        pass

    def ended(self, task: AnalysisTask, error: str | None) -> None:
        self.ends.append((task.uid, error))


@pytest.fixture
def computed(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The units that were computed, of analyses that run in this process in place of Ray's workers."""
    units: list[str] = []

    def unit(uid: str, key: str) -> Unit:
        return Unit(key=key, num_images=1, rows=lambda: units.append(f"{uid} {key}") or [{"x": 1}])  # type: ignore[func-returns-value]

    def open_(store: Store, folder: AnalysisFolder, config: dict[str, Any]) -> tuple[list[Unit], list[Any], str]:
        return [unit(folder.uid, key) for key in "abc"], [], "d"

    monkeypatch.setattr(worker, "_open", open_)
    monkeypatch.setattr(runner, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(shared, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr("ray.wait", lambda streams, **settings: (streams[:1], streams[1:]))
    monkeypatch.setattr("ray.get", lambda value: value)
    monkeypatch.setattr(
        AnalysisRun,
        "_start",
        lambda self, task, attempt: worker.run_analysis(self._config(uid=task.uid, attempt=attempt)),
    )
    for task in TASKS:
        AnalysisFolder(store, task.uid).write_task(task.name, task.analysis, ())
    return units


def analyze(store: Store, name: str, listener: Listener, said: list[str]) -> int:
    sweep = Sweep(store, name)
    with sweep.driver():
        return AnalysisRun(tasks=TASKS, sweep=sweep, data_dir=None, cluster_resources={}).run(listener, said.append)


def test_an_analysis_that_another_sweep_works_on_is_waited_for_and_not_done_again(
    store: Store, computed: list[str]
) -> None:
    said, own, other = list[str](), Listener(), Listener()
    first, second = Sweep(store, "c"), Sweep(store, "d")
    with first.driver():
        running = AnalysisRun(tasks=TASKS[:1], sweep=first, data_dir=None, cluster_resources={})
        held = shared.SharedTrials(store, first.leases(), said.append)
        assert held.take(TASKS[0])
        waiting = threading.Thread(target=analyze, args=(store, "d", other, said))
        waiting.start()
        wait_until(lambda: len(other.ends) == 1, lambda: str(said), seconds=30)
        assert other.ends == [(UIDS[1], None)], "what nobody else has does not wait"
        stream = running._start(TASKS[0], held.hand_over(TASKS[0]))
        assert [*stream] == [0, 1, 1, 1]
        with held.giving_back(TASKS[0]):
            own.ended(TASKS[0], None)
        waiting.join(30)
    assert [*reversed(other.ends)] == [(UIDS[0], None), (UIDS[1], None)]
    assert sorted(computed) == sorted(f"{uid} {key}" for uid in UIDS for key in "abc")
    (line,) = said
    assert line.startswith(f"waiting for layers/{UIDS[0]} ({UIDS[0]}): sweep c (process ")
    assert second.has_driver() is False


def test_a_former_worker_of_an_analysis_writes_nothing_once_another_has_it(store: Store, computed: list[str]) -> None:
    folder, leases = store.trial(ANALYSIS, UIDS[0]), Leases(store, sweep="c")
    former = leases.take(folder)
    config = {"storage": store.uri, "uid": UIDS[0], "data_dir": None, "stop_file": "stop"}
    late = worker.run_analysis(config | {"attempt": former.attempt})
    assert [next(late), next(late)] == [0, 1]
    now = leases.take(folder)
    assert now.attempt != former.attempt
    before = folder.read_bytes("resume/rows.parquet")
    assert [*late] == [], "it ends without an error"
    assert folder.read_bytes("resume/rows.parquet") == before
    assert AnalysisFolder(store, UIDS[0]).state() is State.INTERRUPTED
    assert [*worker.run_analysis(config | {"attempt": now.attempt})] == [1, 1, 1]
    assert AnalysisFolder(store, UIDS[0]).state() is State.DONE
