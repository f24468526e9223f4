"""A snapshot reads what changed, and nothing else again."""

from collections import Counter

import pytest

from orchestrator.plan import build_plan
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.results.trials import read_trials
from orchestrator.store.folder import RESULT, Folder
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid

PLAN = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
TEACHER, DISTILL = PLAN.nodes[:2]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often every file was read, by where it lies."""
    counted: Counter[str] = Counter()
    original = Folder.read_bytes

    def read_bytes(self: Folder, path: str) -> bytes | None:
        counted[f"{self.root}/{path}"] += 1
        return original(self, path)

    monkeypatch.setattr(Folder, "read_bytes", read_bytes)
    return counted


def finish(store: Store, *names: str) -> None:
    for node in (node for node in PLAN.nodes if node.name.partition("/")[0] in names):
        trial_of(store, node).write_recipe(node, None)
        trial_of(store, node).write_result({"test/accuracy": 0.5}, {}, seconds=1.0, data_sha256="d")


def test_every_file_is_read_once_however_many_ask(store: Store, reads: Counter[str]) -> None:
    finish(store, "teacher", "distill")
    reads.clear()
    snapshot = Snapshot(PLAN, store, ahead=EVERYTHING)
    for _ in range(2):
        read_trials(snapshot)
        snapshot.refresh()
    assert len(reads) == 4
    assert set(reads.values()) == {1}


def test_what_ended_is_seen_when_it_is_told_and_what_others_did_when_all_is_listed(
    store: Store, reads: Counter[str]
) -> None:
    snapshot = Snapshot(PLAN, store)
    finish(store, "teacher", "distill")
    assert snapshot.look_again(TEACHER) is State.DONE
    assert snapshot.states[DISTILL.uid] is State.WAITING
    snapshot.refresh()
    assert snapshot.states[DISTILL.uid] is State.DONE
    trial_of(store, TEACHER).restart()
    snapshot.refresh()
    assert snapshot.states[TEACHER.uid] is State.WAITING
    assert snapshot.trial(TEACHER).result() is None


def test_a_damaged_result_is_a_failed_trial_to_a_reader_and_breaks_no_snapshot(store: Store) -> None:
    pair = PLAN.nodes[-1]
    trial_of(store, pair).folder.write_bytes(RESULT, b"{")
    trial = read_trials(Snapshot(PLAN, store))[-1]
    assert trial.state is State.FAILED
    assert "is not a JSON object" in trial.reason
