"""A full disk is the machine's trouble, whichever library meets it: tried again, and told in one line."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any

import pyarrow as pa
import pytest
from ray.exceptions import OutOfDiskError
from ray.tune.search import Searcher
from safetensors import SafetensorError

from orchestrator.launch.frontier import Frontier
from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.failures import Failure, full_disk, headline_of
from orchestrator.store.folder import Folder
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers import trial as trial_worker
from search_spaces.errors import ConfigError, UnavailableError, UnwritableError
from search_spaces.grids.build import Choices, build_grid

PLAN: Plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
TEACHER = PLAN.nodes[0]
FULL = "No space left on device"


def write_with_pyarrow() -> None:
    with pa.OSFile("/dev/full", "wb") as file:
        file.write(b"x" * 100_000)


def write_a_file() -> None:
    with Path("/dev/full").open("wb") as file:
        file.write(b"x")


def write_with_sqlite() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 2")
    connection.execute("CREATE TABLE numbers (number)")
    connection.execute("INSERT INTO numbers VALUES (zeroblob(100000))")


def write_with_safetensors() -> None:
    # What `save_file` said on a full tmpfs; on /dev/full it would rename its file over the device.
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def download_weights() -> None:
    try:
        write_a_file()
    except OSError as error:
        raise UnavailableError("timm's pretrained weights of resnet50 could not be downloaded (OSError).") from error


def read_settings() -> None:
    try:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/home/ann/x")
    except OSError:
        raise ConfigError("x cannot be read.")  # noqa: B904  # its own cause is what is looked for


def keep_objects() -> None:
    raise OutOfDiskError


WRITERS: tuple[Callable[[], None], ...] = (
    write_a_file,
    write_with_pyarrow,
    write_with_safetensors,
    write_with_sqlite,
    download_weights,
    read_settings,
    keep_objects,
)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_full_disk_is_one_line_with_the_machine_and_no_error_of_the_user(
    write: Callable[[], None], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        write()

    monkeypatch.setattr(trial_worker, "_run", run)
    folder = trial_of(store, TEACHER)
    folder.write_recipe(TEACHER, None)
    config: dict[str, Any] = {"storage": store.uri, "stage": "teacher", "uid": TEACHER.uid, "data_dir": None}
    with suppress(Exception):
        trial_worker.run_trial(config | {"stop_file": "stop"})
    headline, text = folder.headline(), folder.error()
    assert headline is not None
    assert headline.line.startswith(f"FullDiskError: a disk of node {gethostname()} is full (")
    assert headline.failure is Failure.UNKNOWN
    assert headline.line.endswith("): free room there.")
    assert write.__name__ in (text or ""), "the traceback says where"


@pytest.mark.parametrize(
    "error", [ValueError("no room for doubt"), OSError(errno.EACCES, "Permission denied"), MemoryError()]
)
def test_other_errors_are_no_full_disk(error: Exception) -> None:
    assert full_disk(error, "gpu-1") is None


def test_a_full_storage_is_full_for_every_machine_and_no_error_of_the_user(store: Store) -> None:
    folder = Folder(store.root.place, "/dev")
    with pytest.raises(UnwritableError, match=FULL) as caught, folder.doing("write", "full"):
        write_a_file()
    assert full_disk(caught.value, "gpu-1") is None
    trial_of(store, TEACHER).write_error(caught.value)
    headline = trial_of(store, TEACHER).headline()
    assert headline is not None
    assert headline.failure is Failure.SHARED
    assert headline.line.startswith(f"UnwritableError: cannot write /dev/full: [Errno 28] {FULL}")


def test_a_full_disk_is_tried_again_twice_and_a_relaunch_leaves_it(store: Store) -> None:
    frontier = Frontier(Snapshot(PLAN, store), {}, data_dir=None, stop_file="stop")
    num_started = 0
    while isinstance(frontier.suggest("t"), dict):
        num_started += 1
        error = full_disk(OSError(errno.ENOSPC, FULL), "gpu-1")
        assert error is not None
        trial_of(store, TEACHER).write_error(error)
        frontier.on_trial_complete("t", error=True)
    assert (num_started, frontier.halted) == (3, None)
    assert frontier.suggest("t") == Searcher.FINISHED
    assert trial_of(store, TEACHER).state() is State.FAILED
    assert headline_of(trial_of(store, TEACHER).error() or "").failure is Failure.UNKNOWN
    assert TEACHER not in Frontier(Snapshot(PLAN, store), {}, data_dir=None, stop_file="stop").pending
