"""A sweep on real Ray, Optuna and MLflow is hurt in every way we know, launched again, and must end as if nothing was.

The short form kills one worker and one driver. `make chaos` runs the rest too (about 20 minutes): `DPTQ_CHAOS` is the
number of kills, and `DPTQ_CHAOS_SEED` the seed of their moments, which every failure prints.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.store.folder import CHECKPOINT, RESULT
from orchestrator.store.leases.sweeps import OWNER
from orchestrator.store.store import Store
from tests.cluster.heads import several_nodes
from tests.cluster.runtime.test_guarded import STRANGER
from tests.orchestrator.patients import (
    GRID,
    STAGES,
    TIMEOUT_SECONDS,
    Patient,
    kill_a_worker,
    kill_driver,
    mlflow_server,
    outcomes_of,
    workers_of,
)
from tests.waiting import wait_until, wait_until_gone

NUM_KILLS = int(os.environ.get("DPTQ_CHAOS", "0"))
SEED = int(os.environ.get("DPTQ_CHAOS_SEED", "0"))
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1200)]
full_form = pytest.mark.skipif(not NUM_KILLS, reason="only in the full form: `make chaos`")


@pytest.fixture
def patient(calm: Path) -> Iterator[Patient]:
    """A sweep whose teacher and white box are done, and nothing else."""
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    patient = Patient(root, outcomes_of(Store(str(calm))))
    for stage in STAGES[:2]:
        shutil.copytree(calm / stage, patient.storage / stage)
    yield patient
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def finished(calm: Path, patient: Patient) -> Patient:
    """A sweep that is done; its MLflow runs are replayed by its next launch."""
    shutil.copytree(calm / "pair", patient.storage / "pair")
    shutil.copytree(calm / "sweeps", patient.storage / "sweeps")
    return patient


def moments_of(name: str) -> random.Random:
    print(f"moments of {name}: DPTQ_CHAOS_SEED={SEED}")  # noqa: T201  # shown when the test fails
    return random.Random(f"{name}{SEED}")


def test_sweep_survives_the_loss_of_a_worker_and_of_its_driver(patient: Patient) -> None:
    moments = moments_of("both")
    driver = patient.start()
    patient.wait_for("pair/*/resume/state.safetensors", driver)
    assert kill_a_worker(driver, moments)
    time.sleep(moments.uniform(0, 2))
    kill_driver(driver)
    patient.recover()


@full_form
def test_driver_killed_at_random_moments(patient: Patient) -> None:
    moments, num_killed = moments_of("driver"), 0
    while num_killed < NUM_KILLS:
        driver = patient.start()
        time.sleep(moments.uniform(2, 20))
        if driver.poll() is None:
            kill_driver(driver)
            num_killed += 1
        else:
            patient.start_afresh()
    patient.recover()


@full_form
def test_workers_killed_at_random_moments(patient: Patient) -> None:
    moments, num_killed = moments_of("worker"), 0
    while num_killed < NUM_KILLS:
        with (patient.root / "log").open("w+") as log:
            driver = patient.start(log=log)
            while num_killed < NUM_KILLS and driver.poll() is None:
                time.sleep(moments.uniform(0.5, 8))
                num_killed += kill_a_worker(driver, moments)
            assert driver.wait(TIMEOUT_SECONDS) == 0, (patient.root / "log").read_text()
        patient.start_afresh()


@full_form
def test_node_removed_from_a_cluster(patient: Patient) -> None:
    with several_nodes(num_cpus=1) as cluster:
        node = cluster.add_node(num_cpus=1)
        driver = patient.start(*GRID, "--address", cluster.address, "--shared-storage")
        patient.wait_for("pair/*/resume/state.safetensors", driver)
        cluster.remove_node(node, allow_graceful=False)
        assert driver.wait(TIMEOUT_SECONDS) == 0
    patient.check()
    patient.recover()


@full_form
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_launch_in_order(patient: Patient, number: signal.Signals) -> None:
    with (patient.root / "log").open("w+") as log:
        driver = patient.start(log=log)
        patient.wait_for("pair/*/resume/state.safetensors", driver)
        driver.send_signal(number)
        assert driver.wait(TIMEOUT_SECONDS) == 0
    printed = (patient.root / "log").read_text()
    assert "stopping: running trials finish their epoch" in printed
    assert re.search(r"stopped, \d of 5 trials are not done; go on with: dptq-sweep resume chaos", printed)
    patient.recover("resume", "chaos")


@full_form
def test_full_disk(patient: Patient) -> None:
    patient.storage.rename(patient.root / "before")
    patient.storage.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(patient.storage)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        shutil.copytree(patient.root / "before", patient.storage, dirs_exist_ok=True)
        with (patient.root / "log").open("w+") as log:
            driver = patient.start(log=log)
            patient.wait_for("pair/*/resume/state.safetensors", driver)
            fill(patient.storage / "ballast")
            assert driver.wait(TIMEOUT_SECONDS) == 1
        printed = (patient.root / "log").read_text()
        assert "No space left on device" in printed
        assert printed.splitlines()[-1].startswith("Error: cannot write "), printed
        (patient.storage / "ballast").unlink()
        patient.recover()
    finally:
        subprocess.run(["umount", "--lazy", str(patient.storage)], check=True)


def fill(path: Path) -> None:
    """Writes until there is no room."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 2**16)


@full_form
def test_storage_made_read_only(patient: Patient) -> None:
    pairs = patient.storage / "pair"
    pairs.mkdir()
    with (patient.root / "log").open("w+") as log:
        driver = patient.start(log=log)
        patient.wait_for("pair/*/resume/state.safetensors", driver)
        # The folder of the pairs only: a file system with open files, such as the database, cannot be made read-only.
        with read_only(pairs):
            assert driver.wait(TIMEOUT_SECONDS) == 1
    printed = (patient.root / "log").read_text()
    assert re.search(r"^Error: cannot write .*Read-only file system", printed, re.MULTILINE), printed
    with read_only(patient.storage):
        code, printed = patient.run()
    assert code == 1
    assert printed.startswith("Error: cannot write ")
    assert printed.count("\n") == 1
    patient.recover()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Permissions do not bind root, a mount does."""
    if subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("folders cannot be mounted read-only here")
    try:
        remount = ["mount", "-o", "remount,bind,ro", str(folder)]
        # It fails while a file is being written.
        wait_until(lambda: not subprocess.run(remount, capture_output=True, check=False).returncode, pause_seconds=0.05)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@full_form
@pytest.mark.parametrize("seconds", [30, None], ids=["for 30 s", "for good"])
def test_mlflow_server_goes_away(patient: Patient, server: Callable[[], Any], seconds: int | None) -> None:
    url, stop = server()
    patient.options = ("--tracking-uri", url)
    with (patient.root / "log").open("w+") as log:
        driver = patient.start(log=log)
        patient.wait_for("pair/*/recipe.json", driver)
        stop()
        if seconds is not None:
            time.sleep(seconds)
            server()
        code = driver.wait(TIMEOUT_SECONDS)
    printed = (patient.root / "log").read_text()
    if seconds is None:
        assert code == 1, printed
        assert "MLflow does not answer" in printed
        assert len(patient.results()) == 5, "trials do not wait for MLflow"
        server()
    patient.recover()


@pytest.fixture
def server(patient: Patient) -> Iterator[Callable[[], tuple[str, Callable[[], None]]]]:
    with mlflow_server(patient.root) as start:
        yield start


@full_form
@pytest.mark.parametrize("name", [RESULT, CHECKPOINT])
def test_truncated_file_is_named_and_repaired_by_the_command_in_the_message(finished: Patient, name: str) -> None:
    path = next(iter(sorted(finished.storage.glob(f"pair/*/{name}"))))
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    code, printed = finished.run(*GRID, "--verify")
    assert code == 1
    assert str(path) in printed
    command = re.search(r"`dptq-sweep (resume .*) --storage", printed)
    assert command is not None
    del finished.done[path.parent.name]
    assert path.read_bytes() == before[: len(before) // 2], "nothing is repaired behind the user's back"
    finished.start = uncounted(finished, path.parent.name)  # type: ignore[method-assign]
    finished.recover(*command[1].split())
    if name == CHECKPOINT:
        assert path.read_bytes() == before


def uncounted(patient: Patient, uid: str) -> Callable[..., Any]:
    """A damaged trial is run again, and that is right."""
    start = patient.start

    def start_it(*arguments: str, log: IO[str] | None = None) -> "subprocess.Popen[str]":
        process = start(*arguments, log=log)
        patient.done.pop(uid, None)
        return process

    return start_it


@full_form
def test_stale_lock_of_another_machine_is_taken_over(finished: Patient) -> None:
    owner = {"id": "x", "host": "elsewhere", "pid": 1, "started_at": 0, "beat": 9, "beat_at": time.time()}
    (finished.storage / "sweeps/chaos" / OWNER).write_text(json.dumps(owner))
    code, printed = finished.run()
    assert code == 0, printed
    assert "taking sweep chaos over from process 1 on elsewhere" in printed
    finished.check()


@full_form
def test_clock_jumps_back_by_a_day(patient: Patient) -> None:
    driver = patient.start()
    patient.wait_for("pair/*/resume/state.safetensors", driver)
    kill_driver(driver)
    tomorrow = time.time() + 86_400
    for path in patient.storage.rglob("epochs.parquet"):
        rows = [row | {"timestamp_ms": row["timestamp_ms"] + 86_400_000} for row in pq.read_table(path).to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows), path)
    for path in patient.storage.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    folder = patient.storage / "sweeps/chaos"
    owner = json.loads((folder / OWNER).read_text())
    (folder / OWNER).write_text(json.dumps(owner | {"started_at": tomorrow, "beat_at": tomorrow}))
    patient.done.clear()
    patient.recover()


@full_form
def test_storage_that_is_moved_between_two_launches(patient: Patient, tmp_path: Path) -> None:
    driver = patient.start()
    patient.wait_for("pair/*/resume/state.safetensors", driver)
    kill_driver(driver)
    before = patient.storage
    shutil.move(before, tmp_path / "storage")
    patient.root = tmp_path
    patient.recover()
    assert not before.exists(), "nothing is made again at the old place"


@full_form
def test_two_storages_on_one_server_have_a_sweep_of_the_same_name(
    patient: Patient, server: Callable[[], Any], tmp_path: Path
) -> None:
    url, _ = server()
    other = Patient(tmp_path, patient.calm)
    shutil.copytree(patient.storage, other.storage)
    for each in (patient, other, patient):
        each.options = ("--tracking-uri", url)
        each.recover()
    assert other.run("gc", "--tracking-uri", url, "--storage", str(other.storage))[0] == 0
    patient.check_mlflow()
    other.check_mlflow()


@full_form
def test_stranger_with_a_wrong_token_is_refused_and_disturbs_nothing(patient: Patient) -> None:
    driver = patient.start()
    patient.wait_for("pair/*/resume/state.safetensors", driver)
    address = (patient.root / "ray" / "ray_current_cluster").read_text().strip()
    wrong = os.environ | {"HOME": str(patient.root), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    command = [sys.executable, "-c", STRANGER, address]
    stranger = subprocess.run(command, env=wrong, capture_output=True, text=True, timeout=120, check=False)
    assert stranger.returncode, stranger.stdout
    assert driver.wait(TIMEOUT_SECONDS) == 0
    patient.recover()


@full_form
def test_worker_that_was_frozen_until_all_is_done_changes_nothing(patient: Patient) -> None:
    driver = patient.start()
    patient.wait_for("pair/*/resume/state.safetensors", driver)
    frozen = workers_of(driver.pid)
    for worker in frozen:
        os.kill(worker, signal.SIGSTOP)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    patient.recover()
    for worker in frozen:
        with suppress(ProcessLookupError):  # Ray may have ended it with its driver
            os.kill(worker, signal.SIGCONT)
    wait_until_gone(frozen)
    patient.check()
