"""Ray sessions: threads, and who sees which GPU."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import exceptions, tune
from ray.exceptions import AuthenticationError

from cluster.runtime.resources import share_of, trial_resources
from cluster.runtime.session import DRIVER_ENVIRONMENT, WORKER_ENVIRONMENT, session
from search_spaces.errors import StorageError, UnavailableError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def two_logical_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster that counts GPUs without having any, on a machine that shows three to everybody."""
    for name, value in DRIVER_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,
        runtime_env={"env_vars": WORKER_ENVIRONMENT},
        include_dashboard=False,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.slow
def test_workers_run_one_thread_and_the_session_ends_with_its_block() -> None:
    @ray.remote
    def threads() -> list[str | None]:
        import os

        return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAY_CHDIR_TO_TRIAL_DIR")]

    with session() as capacity:
        assert capacity.resources["CPU"] >= 1
        assert ray.get(threads.remote()) == ["1", "1", "0"]
    assert not ray.is_initialized()


@pytest.mark.ray
@pytest.mark.slow
def test_signals_reach_the_drivers_handlers_also_while_ray_starts_and_no_process_of_rays_is_in_its_group() -> None:
    # A process of its own: what fails is aborted.
    code = """
import os, signal, threading
from contextlib import suppress
from orchestrator.cli.main import main

with suppress(SystemExit):
    main(["--version"])

from cluster.runtime.session import session

NUMBERS = (signal.SIGTERM, signal.SIGHUP)
heard, is_up = {number: 0 for number in NUMBERS}, threading.Event()

def hear(number, frame):
    heard[number] += 1

def signal_all_the_time():
    while not is_up.wait(0.01):
        for number in NUMBERS:
            os.killpg(os.getpgrp(), number)

for number in NUMBERS:
    signal.signal(number, hear)
threading.Thread(target=signal_all_the_time, daemon=True).start()
with session() as capacity:
    is_up.set()
    print(min(heard.values()) > 10, {signal.getsignal(each) for each in NUMBERS} == {hear})
    before = heard[signal.SIGTERM]
    os.kill(os.getpid(), signal.SIGTERM)
    print(heard[signal.SIGTERM] - before)
"""
    # A group of its own: the tests are not signalled.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, process_group=0
    )
    _, *said = done.stdout.splitlines()
    assert (done.returncode, said) == (0, ["True True", "1"]), done.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_a_task_sees_one_gpu_if_it_asked_for_a_share_and_none_if_not(two_logical_gpus: None) -> None:
    @ray.remote
    def visible() -> str | None:
        import os

        return os.environ.get("CUDA_VISIBLE_DEVICES")

    assert ray.get(visible.options(num_gpus=0).remote()) == ""
    for share in (share_of(7), 0.5, 1):
        assert ray.get(visible.options(num_gpus=share).remote()) in ("0", "1")
    # A worker that had no GPU may get one later, and the other way round.
    assert ray.get(visible.options(num_gpus=0).remote()) == ""


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_of_tune_sees_one_gpu_if_it_has_a_share_and_none_if_not(
    two_logical_gpus: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report_visible(config: dict[str, Any]) -> None:
        import os

        import ray

        tune.report({"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "ids": len(ray.get_gpu_ids())})

    tuner = tune.Tuner(
        tune.with_resources(report_visible, lambda config: trial_resources(config["share"])),
        param_space={"share": tune.grid_search([0.0, share_of(3)])},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    without, with_share = sorted((result.metrics for result in tuner.fit()), key=lambda metrics: metrics["ids"])
    assert (without["visible"], without["ids"]) == ("", 0)
    assert with_share["visible"] in ("0", "1")
    assert with_share["ids"] == 1


@pytest.mark.ray
@pytest.mark.slow
def test_without_an_address_a_cluster_of_its_own_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def init(address: object, **options: object) -> None:
        asked.append(address)
        raise ConnectionError

    # Left alone, Ray would join whatever cluster was started last on this machine.
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(UnavailableError), session():
        pass
    assert asked == ["local"]


@pytest.mark.ray
def test_whatever_keeps_ray_from_starting_is_one_line_with_what_to_do() -> None:
    # A process of its own: Ray leaves what it had started already until its end.
    code = """
import os
from cluster.runtime.session import session
from search_spaces.errors import StorageError, UnavailableError

for variables, address in (
    (dict(RAY_TMPDIR="/tmp/" + 75 * "x"), None),
    (dict(RAY_TMPDIR="/proc/nowhere"), None),
    (dict(RAY_AUTH_MODE="disabled"), "no-such-host.invalid:6379"),
    (dict(), "no such address"),
):
    os.environ |= variables
    try:
        with session(address):
            pass
    except UnavailableError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    patterns = [
        r"Ray does not start on this machine \(.*AF_UNIX.*\): .* set RAY_TMPDIR to a short one, as /tmp\.",
        r"Ray does not start on this machine \(.*/proc/nowhere.*\): set RAY_TMPDIR to a folder that exists.*\.",
        r"no Ray cluster answers at 'no-such-host.invalid:6379': .*\.",
        r"Ray does not join the cluster at 'no such address' \(.*\): .*\.",
    ]
    lines = done.stdout.splitlines()
    assert len(lines) == len(patterns), done.stdout + done.stderr
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), line


@pytest.mark.parametrize(
    "error",
    [
        Exception("The current node timed out during startup.\nThis could happen because some of the Ray processes\n"),
        RuntimeError("Failed to start the GCS"),
        ValueError("no such thing"),
        TimeoutError(),
        OSError(28, "No space left on device"),
        AuthenticationError("RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: /nowhere/token"),
    ],
)
def test_what_ray_raises_while_it_starts_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        raise error

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(UnavailableError, match=r"Ray does not start on this machine \(.*\): .*\.$"), session():
        pass


def test_no_cluster_at_the_address_is_one_clear_line() -> None:
    with pytest.raises(UnavailableError, match=r"no Ray cluster answers at '127.0.0.1:1'"), session("127.0.0.1:1"):
        pass


@pytest.mark.parametrize(
    "said",
    [
        exceptions.LocalRayletDiedError(),
        exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.\nMemory was 15 GB"),
        exceptions.WorkerCrashedError(),
        exceptions.ActorUnavailableError("temporarily unavailable", None),
        exceptions.NodeDiedError("The node 10.0.0.7 died.\nIts heartbeats stopped."),
        exceptions.ObjectLostError("ab" * 28, None, "main.py:1"),
        exceptions.RpcError("failed to connect to all addresses " * 100, rpc_code=14),
    ],
)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_ray_that_breaks_off_is_one_line_with_what_to_type(
    said: Exception, is_wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.runtime.session._start_or_join", lambda *_: None)
    monkeypatch.setattr("cluster.runtime.session.current_capacity", lambda *_: None)
    error = RuntimeError("Caught unexpected exception") if is_wrapped else said
    error.__cause__ = said if is_wrapped else None
    with pytest.raises(UnavailableError) as end, session(again="dptq-sweep resume my"):
        raise error
    line = str(end.value)
    assert line.startswith(f"Ray broke off ({type(said).__name__}: ")
    assert line.endswith("what is done is kept: go on with `dptq-sweep resume my`.")
    assert "\n" not in line
    assert len(line) < 400


@pytest.mark.parametrize("error", [KeyError("ours"), StorageError("the storage is gone"), KeyboardInterrupt()])
def test_what_else_ends_a_session_stays_as_it_is(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.runtime.session._start_or_join", lambda *_: None)
    monkeypatch.setattr("cluster.runtime.session.current_capacity", lambda *_: None)
    with pytest.raises(type(error)) as end, session():
        raise error
    assert end.value is error
