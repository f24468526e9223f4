"""A trial that hangs is ended with a trace of the place, and one that is slow, or done, is not."""

import threading
import time
from collections.abc import Callable

import pytest

from orchestrator.store.failures import Failure, StalledTrialError, headline_of
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from orchestrator.workers import stalled
from orchestrator.workers.stalled import StallWatch


class Ends:
    """Notes what happens in place of the end of the process."""

    def __init__(self, store: Store) -> None:
        self.trial = TrialFolder(store, "pair", "0123456789abcdef")
        self.codes: list[int] = []
        self.ended = threading.Event()

    def end(self, code: int) -> None:
        self.codes.append(code)
        self.ended.set()

    def watch(self, usual: float | None, record: Callable[[StalledTrialError], None] | None = None) -> StallWatch:
        return StallWatch(record or self.trial.write_error, usual, min_seconds=0.3, end_process=self.end)


@pytest.fixture
def ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> Ends:
    monkeypatch.setattr(stalled, "FACTOR", 2)
    return Ends(store)


def hang_here(ended: threading.Event) -> None:
    assert ended.wait(30), "nothing ended it"


@pytest.mark.parametrize("usual", [0.01, None])
def test_a_hanging_trial_ends_with_its_class_and_the_place_where_it_hangs(ends: Ends, usual: float | None) -> None:
    with ends.watch(usual) as watch:
        if usual is None:
            watch.epoch(0.01)
        hang_here(ends.ended)
    assert ends.codes == [1]
    text = ends.trial.error()
    assert text is not None
    headline = headline_of(text)
    assert headline.failure is Failure.STALLED
    assert headline.line.startswith("StalledTrialError: no epoch for 0 s, and the longest so far took 0.0 s")
    assert "in hang_here" in text


def test_the_process_ends_though_the_storage_does_not_take_the_error(ends: Ends) -> None:
    def record(error: StalledTrialError) -> None:
        ends.codes.append(7)

    with ends.watch(0.01, record):
        hang_here(ends.ended)
    assert ends.codes == [7, 1]


def test_neither_epochs_in_time_nor_a_first_one_of_unknown_length_nor_the_end_count_as_stalled(ends: Ends) -> None:
    with ends.watch(None) as watch:
        time.sleep(0.5)
        # Twice the longest epoch is longer than the shortest wait.
        watch.epoch(100.0)
        time.sleep(0.5)
    time.sleep(0.1)
    assert ends.codes == []
    assert ends.trial.error() is None
