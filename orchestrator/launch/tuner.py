"""Runs a plan on Ray: one Tuner per launch, never a restored one. What the store lacks is run, what it has is kept."""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler

from cluster.runtime.ray_internals import lost_workers_fail_their_trials
from cluster.runtime.resources import trial_resources
from orchestrator.launch.caps import Meter
from orchestrator.launch.frontier import Frontier
from orchestrator.launch.listeners import Forgiving, Listener, Relay, Silent
from orchestrator.launch.notifications import Hook
from orchestrator.plan import Plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.journal import sweep_journal
from orchestrator.search.study import open_studies
from orchestrator.store.failures import MAX_RETRIES, failed_import, lost_worker
from orchestrator.store.leases.shared import SharedTrials
from orchestrator.store.sweep import Caps, Sweep
from orchestrator.store.trial import ROW
from orchestrator.workers.entry_points import run_trial
from search_spaces.files.scratch import scratch_folder

SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A plan about to run."""

    sweep: Sweep
    snapshot: Snapshot
    """Of its plan, kept up to date by what `open_frontier` yields."""
    data_dir: Path | None = None
    threads: int = 1
    """Of a trial beside which no other can run."""
    gpus_per_trial: float | None = None
    """Share of a GPU for every trial; None measures what each needs."""
    max_retries: int = MAX_RETRIES
    """Times that a trial is tried again after an unknown error."""
    only: Collection[str] | None = None
    """Uids of the trials to run; None for the whole plan."""
    typed_models: Collection[str] = ()
    """URIs of networks that the user typed in this command; code runs for those only."""
    meter: Meter = field(default_factory=lambda: Meter(Caps()))
    """Adds up what the launch takes, and knows the caps on it."""
    hook: Hook | None = None
    """Whom to tell what happens."""
    say: Callable[[str], None] = lambda line: None
    """Takes a line about a listener that failed."""
    trainable: Callable[[dict[str, Any]], None] = run_trial
    """What runs a trial in its worker; a test that measures the orchestration itself passes one that trains nothing."""

    @property
    def plan(self) -> Plan:
        """What is to run."""
        return self.snapshot.plan

    @contextmanager
    def open_frontier(self, say: Callable[[str], None] = lambda line: None) -> Iterator[Frontier]:
        """Opens the studies, and yields what is left to run; `say` takes a line about what other sweeps have."""
        cells, search, name = self.plan.searched_cells, self.plan.grid.search, self.sweep.name
        with sweep_journal(self.sweep.folder) if cells else nullcontext() as journal:
            studies = open_studies(cells, journal, search, sweep=name) if journal else {}
            yield Frontier(
                self.snapshot,
                studies,
                data_dir=str(self.data_dir.absolute()) if self.data_dir else None,
                stop_file=self.sweep.stop_file,
                max_retries=self.max_retries,
                only=self.only,
                typed_models=self.typed_models,
                shared=SharedTrials(self.sweep.store, self.sweep.leases(), say),
            )

    def run(
        self,
        frontier: Frontier,
        gpu_shares: Mapping[str, float],
        room: Callable[[], int],
        listeners: Sequence[Listener],
    ) -> None:
        """Runs what the frontier hands out until nothing is left that could run.

        Args:
            frontier: From `open_frontier`.
            gpu_shares: Share of a GPU of every pending trial, by uid; 0 without GPUs.
            room: How many trials may be out at once; asked before every one.
            listeners: Told of every start, epoch and end, in the driver.

        Raises:
            StorageError: The storage cannot be read or written any more.
        """
        frontier.limit(self.meter.may_start, room)
        frontier.forgiving = Forgiving(self.say)
        listeners = [*listeners, self.meter, *([self.hook] if self.hook else [])]
        # Tune asks a searcher for one trial at a time unless told how many may wait for a place. The frontier knows.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(len(self.plan.nodes))
        # A failed trial is one line of ours, and its traceback lies in its error.txt.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        # Tune hands them to its trials in a way that Ray's logs and dashboard show. Machines have them anyway.
        ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)
        # Signals are the driver's to handle: see `orchestrator.launch.signals`.
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
        with scratch_folder() as scratch:
            tuner = tune.Tuner(
                tune.with_resources(
                    self.trainable,
                    lambda config: trial_resources(gpu_shares[config["uid"]], whole_gpu=config["whole_gpu"]),
                ),
                tune_config=tune.TuneConfig(
                    search_alg=frontier,
                    scheduler=Pruning(frontier),
                    num_samples=-1,
                    # A worker that goes on to the next trial saves it the seconds of importing torch and timm.
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=self.sweep.name,
                    # Tune's own snapshots are never read again: the store is the truth.
                    storage_path=str(scratch),
                    # The frontier decides what is tried again.
                    failure_config=tune.FailureConfig(max_failures=0),
                    callbacks=[Relay(self.snapshot, listeners, frontier.forgiving), Silent()],
                    verbose=0,
                ),
            )
            try:
                with lost_workers_fail_their_trials():
                    tuner.fit()
            except tune.TuneError as error:
                # Tune keeps only the text of what went wrong in its loop.
                raise frontier.error or error.__context__ or error from None


_FLAT_ROW = f"{ROW}/"


class Pruning(FIFOScheduler):  # type: ignore[misc]  # ray ships no types
    """Ends the trials that their studies would not go on with; all that is known of them the frontier knows."""

    def __init__(self, frontier: Frontier) -> None:
        """Asks a frontier."""
        super().__init__()
        self._frontier = frontier

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """Returns Tune's decision after an epoch."""
        # Schedulers, unlike callbacks, get results flattened.
        row = {key.removeprefix(_FLAT_ROW): value for key, value in result.items() if key.startswith(_FLAT_ROW)}
        # Tune repeats the last result when a function returns; only reports of ours carry a row.
        if row and not result.get("done") and self._frontier.prunes(trial.trial_id, row):
            return str(self.STOP)
        return str(self.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:
        """Tells the frontier, before it is asked what comes next, what Ray knows of a worker that is gone."""
        # Tune writes what Ray said into a file of this machine; its own getter looks where that was not copied yet.
        said = Path(trial.error_file).read_text() if trial.error_file else ""
        self._frontier.record(trial.trial_id, failed_import(said) or lost_worker(said))
