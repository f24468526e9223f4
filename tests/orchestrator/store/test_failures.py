"""What an error.txt means for its trial: its class, how often it is tried again, and which failures are alike."""

import pytest

from orchestrator.store.failures import Failure, allowed_retries, failed_import, headline_of

FRAME = (
    '\n\nTraceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n  File "b.py", line 2, in g\n    x\n'
)


@pytest.mark.parametrize(
    ("line", "failure", "retries"),
    [
        ("NonFiniteLossError: the loss became nan", Failure.DIVERGED, 0),
        ("OutOfMemoryError: CUDA out of memory", Failure.OUT_OF_MEMORY, 1),
        ("LostWorkerError: its process died", Failure.LOST, 10),
        ("StalledTrialError: no epoch for 900 s", Failure.STALLED, 2),
        ("UnavailableError: the data is not here", Failure.SHARED, 0),
        ("UnwritableError: the disk is full", Failure.SHARED, 0),
        ("UnreachableError: the storage does not answer", Failure.UNKNOWN, 7),
        ("StorageError: the checkpoint is damaged", Failure.USER, 0),
        ("ConfigError: batch_size is above the images", Failure.USER, 0),
        ("RuntimeError: anything else", Failure.UNKNOWN, 7),
        ("", Failure.UNKNOWN, 7),
    ],
)
def test_the_first_line_tells_the_class_and_how_often_a_trial_is_tried_again(
    line: str, failure: Failure, retries: int
) -> None:
    headline = headline_of(line + FRAME)
    assert headline.failure is failure
    assert headline.line == (line or "error.txt is empty")
    assert headline.signature == (line.partition(":")[0], 'File "b.py", line 2, in g'), "the innermost frame"
    assert allowed_retries(failure, 7) == retries


def test_a_worker_that_cannot_import_names_the_module_and_the_node() -> None:
    said = (
        "The class failed to import on the worker (pid=3, ip=10.0.0.7).\nModuleNotFoundError: No module named 'timm'\n"
    )
    error = failed_import(said)
    assert error is not None
    assert "node 10.0.0.7 cannot import what its trial needs (No module named 'timm')" in str(error)
    assert "node unknown to Ray" in str(failed_import(said.replace("ip=", "at ")))
    assert failed_import("failed to import on the worker, for another reason") is None
    assert failed_import("ModuleNotFoundError: No module named 'timm'") is None, "in the middle of a training"
