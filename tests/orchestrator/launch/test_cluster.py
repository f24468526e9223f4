"""A sweep runs on several machines, with its storage on S3 and its runs on an MLflow server, and loses one of them.

The machines are Ray nodes of their own on this one, the head without a core for trials. The short form runs the smoke
grid; `make cluster-test` (DPTQ_CLUSTER=1) runs the quick grid, and then the commands that read what it left.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from orchestrator.store.failures import Failure
from orchestrator.store.folder import ATTEMPTS
from orchestrator.store.store import Store
from tests.cluster.heads import several_nodes
from tests.orchestrator.patients import GRID, SWEEP, Patient, mlflow_server, outcomes_of, workers_of
from tests.servers import SECRET, Bucket

IS_FULL = bool(os.environ.get("DPTQ_CLUSTER"))
SECONDS = 1800 if IS_FULL else 600
"""Longest wait for a command."""
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(3 * SECONDS)]
# Nothing is pruned, so that all that ran is done.
QUICK = ("launch", "--grid", "quick", "--name", SWEEP, "--pruner", "none")


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder with a short path: it holds the Unix sockets of the cluster."""
    path = Path(tempfile.mkdtemp(prefix="cluster-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def patient(root: Path, bucket: Bucket, request: pytest.FixtureRequest) -> Patient:
    """A sweep with its storage on S3, of which nothing is done, and of the small one what it comes to undisturbed."""
    calm = {} if IS_FULL else outcomes_of(Store(str(request.getfixturevalue("calm"))))
    grid = QUICK if IS_FULL else GRID
    return Patient(root, calm, uri=bucket.uri("/storage"), grid=grid, seconds=SECONDS)


@pytest.fixture
def cluster(bucket: Bucket) -> Iterator[Cluster]:
    """A head without cores; machines see the credentials of the bucket in the environment."""
    with several_nodes(num_cpus=0) as cluster:
        yield cluster


def test_sweep_on_several_machines_that_come_and_go(patient: Patient, cluster: Cluster) -> None:
    machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
    raylets = [machine.all_processes["raylet"][0].process.pid for machine in machines]
    with mlflow_server(patient.root) as start, (patient.root / "log").open("w+") as log:
        url, _ = start()
        patient.options = ("--tracking-uri", url, "--address", cluster.address)
        driver = patient.start(log=log)
        patient.wait_for("pair/*/resume/state.safetensors", driver)
        patient.wait_until(lambda: all(map(workers_of, raylets)), "a trial on either machine", driver)
        cluster.remove_node(machines[0], allow_graceful=False)
        cluster.add_node(num_cpus=1)
        code = driver.wait(SECONDS)
        printed = Path(log.name).read_text()
        assert code == 0, printed
        if IS_FULL:
            # Which trials the search needs depends on the order in which they end.
            patient.calm = outcomes_of(patient.store)
        assert f"plan = store = Optuna = MLflow: {len(patient.calm)} done, 0 failed" in printed
        patient.check()
        assert_no_finished_trial_ran_again(printed)
        attempts = [path for path in patient.store.root.sizes() if path.endswith(f"/{ATTEMPTS}")]
        failures = [patient.store.root.read_json(path) or {} for path in attempts]
        assert {failure for each in failures for failure in each} <= {Failure.LOST}, "nothing but the machine failed"
        # A trial of the smoke grid takes a second: its machine may be between two of them.
        assert failures or not IS_FULL, "the machine was at work"
        patient.recover()
        check_refusal(patient, cluster.address)
        if IS_FULL:
            check_commands(patient, interrupted=attempts[0].split("/")[1])
        assert SECRET not in printed
        assert files_with(SECRET, patient.root) == []
        with patient.store.root.on_disk() as folder:
            assert files_with(SECRET, folder) == []


def assert_no_finished_trial_ran_again(printed: str) -> None:
    events = re.findall(r"^\[\S+\] (started|done) (\S+)", printed, re.MULTILINE)
    done: set[str] = set()
    for event, name in events:
        assert name not in done, f"{name} is done, and then {event}"
        done |= {name} if event == "done" else set()
    assert done


def files_with(text: str, folder: Path) -> list[Path]:
    """Files below a folder that hold a text, the logs of Ray and the database of MLflow among them."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if text.encode() in path.read_bytes()]


def check_refusal(patient: Patient, address: str) -> None:
    """A folder that other machines may not see is refused before anything is queued."""
    folder = patient.root / "folder"
    code, printed = patient.run(*patient.grid, "--storage", str(folder), "--address", address)
    assert code == 1
    assert printed.splitlines()[-1].startswith(f"Error: storage {folder} is a folder of this machine")
    assert "--shared-storage" in printed
    assert [path.name for path in folder.iterdir()] == ["sweeps"]


def check_commands(patient: Patient, *, interrupted: str) -> None:
    """Whatever reads a sweep finds it on S3, and a trial that lost its machine came to what it comes to undisturbed."""
    storage = ("--storage", patient.place)
    for arguments, shown in (
        (("status", SWEEP), f"{len(patient.calm)} of {len(patient.calm)} trials done"),
        (("report", SWEEP), "report.html"),
        (("reproduce", interrupted), "reproduced bit by bit"),
        (("gc", "--plan"), "would remove 0 things"),
        (("analyze", SWEEP, "--only", "layers", "--set", "layers.max_images=50", *patient.options), "layers"),
    ):
        code, printed = patient.run(*arguments, *storage)
        assert code == 0, printed
        assert shown in printed
