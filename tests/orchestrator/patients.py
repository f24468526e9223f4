"""Sweeps that tests hurt, what is looked at afterwards, and the servers that sweeps talk to; no tests in here."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

import mlflow
import optuna
import pyarrow.fs as pafs
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.search.journal import JOURNAL
from orchestrator.store.folder import CHECKPOINT, RESULT
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.workers.entry_points import num_sites
from tests.servers import starting
from tests.waiting import wait_until, wait_until_gone

SWEEP = "chaos"
GRID = (
    *("launch", "--grid", "smoke", "--name", SWEEP, "--train-images", "100", "--test-images", "50"),
    *("--set", "teacher.architecture=test_resnet", "--set", "pair.epochs=6"),
)
STAGES = ("teacher", "distill", "pair")
TIMEOUT_SECONDS = 600


@dataclass
class Patient:
    """A sweep that is hurt: where it is stored, and who was done when it was hurt last."""

    root: Path
    calm: dict[str, Any]
    """What an undisturbed run came to, by uid: metrics and the checksum of the checkpoint."""
    options: tuple[str, ...] = ()
    """`--tracking-uri` and its value, where the runs are not in the storage."""
    uri: str | None = None
    """Of the storage, if it is no folder below `root`."""
    grid: tuple[str, ...] = GRID
    seconds: float = TIMEOUT_SECONDS
    """Longest wait for a command, or for what it writes."""
    done: dict[str, int] = field(default_factory=dict)
    """Time of every result that was there before a relaunch."""

    @property
    def storage(self) -> Path:
        return self.root / "storage"

    @property
    def store(self) -> Store:
        return Store(self.place, create=False)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Runs a command to its end; returns exit code and all that it printed."""
        with (self.root / "log").open("w+") as log:
            driver = self.start(*arguments, log=log)
            code = driver.wait(self.seconds)
            log.seek(0)
            return code, log.read()

    @property
    def place(self) -> str:
        """Of the storage."""
        return self.uri or str(self.storage)

    def start(self, *arguments: str, log: IO[str] | None = None) -> "subprocess.Popen[str]":
        """Starts a command, on the patient's storage and with its options unless it names a storage."""
        # Output goes to a file: Ray's processes would keep a pipe open after their driver is gone.
        self.done |= self.results()
        code = "from orchestrator.cli.main import main; main()"
        own = () if "--storage" in arguments else (*self.options, "--storage", self.place)
        command = [sys.executable, "-c", code, *(arguments or self.grid), *own]
        # Not the folder of other clusters on this machine; short, because it holds Unix sockets.
        environment = os.environ | {"HOME": str(self.root), "RAY_TMPDIR": str(self.root)}
        out = log or subprocess.DEVNULL
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, env=environment)

    def results(self) -> dict[str, int]:
        """When every finished trial was written, by uid."""
        return results_of(self.store)

    def wait_for(self, pattern: str, driver: "subprocess.Popen[str]") -> None:
        """Waits until the storage has such a file."""
        stage, _, inside = pattern.partition("/")
        folder = self.store.root.folder(stage)
        self.wait_until(lambda: any(fnmatch(path, inside) for path in folder.sizes()), f"a file {pattern}", driver)

    def wait_until(self, is_so: Callable[[], bool], what: str, driver: "subprocess.Popen[str]") -> None:
        """Waits while a driver runs."""
        # A server on this machine is busy with every look.
        pause_seconds = 0.5 if self.uri else 0.01
        said = f"the driver ended, or we waited in vain for {what}"
        wait_until(is_so, lambda: said, process=driver, seconds=self.seconds, pause_seconds=pause_seconds)

    def recover(self, *arguments: str) -> None:
        """Runs the sweep to its end, and checks that nobody can tell that it was hurt."""
        code, printed = self.run(*arguments)
        assert code == 0, printed
        assert f"plan = store = Optuna = MLflow: {len(self.calm)} done, 0 failed" in printed
        self.check()

    def start_afresh(self) -> None:
        """Checks a sweep that is done, and forgets it all."""
        self.check()
        shutil.rmtree(self.storage)
        self.done.clear()

    def check(self) -> None:
        """Plan, store, Optuna and MLflow agree, and the numbers are those of the undisturbed run."""
        assert self.results().items() >= self.done.items()
        assert outcomes_of(self.store) == self.calm
        files = [path.split("/", 2)[2] for path in self.store.root.sizes() if path.startswith(STAGES)]
        assert not [name for name in files if name == "error.txt" or name.startswith("resume/")]
        plan = Sweep(self.store, SWEEP).load_plan(num_sites)
        assert {node.uid for node in plan.nodes} >= self.calm.keys()
        self.check_mlflow()
        done = [node for node in plan.nodes if node.uid in self.calm]
        searched = [node.uid for node in done if node.cell and node.cell.search_trials]
        with self.store.sweep(SWEEP).on_disk([JOURNAL]) as folder:
            journal = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
            (study,) = optuna.study.get_all_study_summaries(journal)
            trials = optuna.load_study(study_name=study.study_name, storage=journal).get_trials()
        complete = [trial.user_attrs["uid"] for trial in trials if trial.state.name == "COMPLETE"]
        assert sorted(complete) == sorted(searched)
        assert {trial.state.name for trial in trials} <= {"COMPLETE", "FAIL"}

    def check_mlflow(self) -> None:
        (tracking_uri,) = self.options[1:2] or (f"sqlite:///{self.storage}/mlflow.db",)
        client = mlflow.MlflowClient(tracking_uri)
        own = f"tags.`dptq.storage` = '{self.store.read_id()}' AND tags.`dptq.sweep` = '{SWEEP}'"
        (experiment,) = client.search_experiments(filter_string=own)
        runs = client.search_runs([experiment.experiment_id])
        uids = [run.data.tags["dptq.uid"] for run in runs if "dptq.uid" in run.data.tags]
        assert sorted(uids) == sorted(self.calm)
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert len(runs) == len(self.calm) + 1, "one run for the sweep itself"


def results_of(store: Store) -> dict[str, int]:
    """When the result of every finished trial was written, by uid; in ns."""
    filesystem, root = pafs.FileSystem.from_uri(store.uri)
    found = {}
    for stage in STAGES:
        for info in filesystem.get_file_info(
            pafs.FileSelector(f"{root}/{stage}", allow_not_found=True, recursive=True)
        ):
            if info.base_name == RESULT:
                found[info.path.split("/")[-2]] = info.mtime_ns
    return found


def outcomes_of(store: Store) -> dict[str, Any]:
    """Metrics and the checksum of the checkpoint of every finished trial, by uid."""
    outcomes = {}
    for path in store.root.sizes():
        if path.startswith(STAGES) and path.endswith(f"/{RESULT}"):
            result = json.loads(store.root.read_bytes(path) or b"")
            outcomes[result["uid"]] = (result["metrics"], result["files"][CHECKPOINT])
    return outcomes


def descendants(pid: int) -> dict[int, str]:
    """Processes below a process, with their names; Linux only."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    names = {}
    for child in found - {pid}:
        try:
            names[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
    return names


def workers_of(pid: int) -> list[int]:
    """Processes below a process that run a trial."""
    return sorted(child for child, name in descendants(pid).items() if name.startswith("ray::ImplicitFunc"))


def kill_driver(driver: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """Kills a driver, and waits until its workers have noticed; what they finish until then is kept, too."""
    ours = descendants(driver.pid).items()
    # Ray's agents take a minute to notice, and write nothing here.
    workers = [process for process, name in ours if name.startswith("ray::") and not name.endswith("Agent")]
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_until_gone(workers)


def kill_a_worker(driver: "subprocess.Popen[str]", moments: random.Random) -> bool:
    """Kills one process that runs a trial of this driver, if there is any."""
    workers = workers_of(driver.pid)
    if workers:
        os.kill(moments.choice(workers), signal.SIGKILL)
    return bool(workers)


@contextmanager
def mlflow_server(root: Path) -> Iterator[Callable[[], tuple[str, Callable[[], None]]]]:
    """Starts an MLflow server, again and again on one port and database; gives its URL and what kills it."""
    places = ["--backend-store-uri", f"sqlite:///{root}/server.db", "--artifacts-destination", f"{root}/artifacts"]
    with starting("mlflow", "server", "--workers", "1", *places, port_option="--port") as start:
        yield start
