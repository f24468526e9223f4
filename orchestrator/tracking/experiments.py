"""Which experiments and runs of an MLflow are whose: several storages may use one server.

A storage has an id, which its experiments and runs carry as a tag, so that neither an experiment that was renamed in
MLflow's pages is lost nor two sweeps of the same name on two storages become one. What an earlier version logged has no
such tag; it is known by the uids of its runs, and gets the tag at the next launch of its sweep.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException

from orchestrator.tracking.backend import Location
from orchestrator.tracking.runs import UID_TAG

STORAGE_TAG = "dptq.storage"
"""The id of the storage; see `orchestrator.store.store`."""
SWEEP_TAG = "dptq.sweep"
_RUNS_PER_PAGE = 1000
_OLDEST_FIRST = ["attributes.start_time ASC"]
_SHORT = 8
"""Letters of an id that tell two storages apart for people."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The sweep whose runs an experiment has."""

    storage: str
    """Id of its storage."""
    sweep: str
    uids: Collection[str] = ()
    """Of its trials: by them runs are known that an earlier version logged."""

    @property
    def tags(self) -> dict[str, str]:
        """By which its experiment is found."""
        return {STORAGE_TAG: self.storage, SWEEP_TAG: self.sweep}


def own_experiment(client: MlflowClient, location: Location, owner: Owner) -> str:
    """Finds the experiment of a sweep, whatever it is called by now, or creates it; returns its number.

    It is called like the sweep, and if another storage has that name, the id of this one is added.
    """
    found = find_experiment(client, owner)
    if found is None:
        is_taken = client.get_experiment_by_name(owner.sweep) is not None
        name = f"{owner.sweep} ({owner.storage[:_SHORT]})" if is_taken else owner.sweep
        if is_taken:
            logger.warning("MLflow has an experiment %r of another storage; this one's is %r", owner.sweep, name)
        try:
            return _create(client, location, name, owner.tags)
        except MlflowException as error:
            # Another storage, or another process of this one, was faster.
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or is_taken:
                raise
            return own_experiment(client, location, owner)
    _restore(client, found)
    for name, value in owner.tags.items():
        if found.tags.get(name) != value:
            client.set_experiment_tag(found.experiment_id, name, value)
    return str(found.experiment_id)


def find_experiment(client: MlflowClient, owner: Owner) -> Experiment | None:
    """Returns the experiment of a sweep, deleted ones included; None if it has none."""
    tagged = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in owner.tags.items())
    order = ["creation_time ASC"]
    if found := client.search_experiments(ViewType.ALL, filter_string=tagged, order_by=order):
        return min(found, key=lambda each: each.lifecycle_stage != "active")
    named = client.get_experiment_by_name(owner.sweep)
    if named is None or STORAGE_TAG in named.tags:
        return None
    known = {uid for run in runs_of(client, named.experiment_id) if (uid := run.data.tags.get(UID_TAG))}
    return None if known and owner.uids and not known.intersection(owner.uids) else named


def shared_experiment(client: MlflowClient, location: Location, name: str) -> str:
    """Finds an experiment that all storages share by its name, or creates it; returns its number."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return _create(client, location, name, {})
    _restore(client, found)
    return str(found.experiment_id)


def run_of(client: MlflowClient, storage: str | None, uid: str) -> Run | None:
    """Returns the run of a trial, of several sweeps the one that was begun last; None if nobody tracked it.

    Runs of other storages do not count, those without an id come last.
    """
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    latest = ["attributes.start_time DESC"]
    runs = client.search_runs(experiments, f"tags.`{UID_TAG}` = '{uid}'", order_by=latest)
    by_storage = {run.data.tags.get(STORAGE_TAG): run for run in reversed(runs)}
    return by_storage.get(storage) or by_storage.get(None)


def runs_of(client: MlflowClient, experiment_id: str) -> list[Run]:
    """All runs of an experiment, oldest first: of two with one uid the older one is kept."""
    search = partial(client.search_runs, [experiment_id], max_results=_RUNS_PER_PAGE, order_by=_OLDEST_FIRST)
    page = search()
    runs = [*page]
    while page.token:
        page = search(page_token=page.token)
        runs += page
    return runs


def discard_gone(
    location: Location, storage: str | None, uids: Collection[str], sweeps: Collection[str], *, is_alone: bool
) -> int:
    """Moves the runs of a storage to MLflow's bin whose trials, analyses or sweeps were removed.

    Args:
        location: Where MLflow keeps its runs.
        storage: Id of the storage.
        uids: What was removed.
        sweeps: The sweeps that are left; runs of others go with their parent.
        is_alone: Whether no other storage uses this MLflow, so that runs without an id are its own, too.

    Returns:
        How many runs went.
    """
    client, num_runs = MlflowClient(tracking_uri=location.uri), 0
    for experiment in client.search_experiments():
        of_experiment = experiment.tags.get(STORAGE_TAG)
        for run in runs_of(client, experiment.experiment_id):
            tags = run.data.tags
            of = tags.get(STORAGE_TAG) or of_experiment
            is_own = of == storage if of else is_alone
            if is_own and (tags.get(UID_TAG) in uids or (SWEEP_TAG in tags and tags[SWEEP_TAG] not in sweeps)):
                client.delete_run(run.info.run_id)
                num_runs += 1
    return num_runs


def _create(client: MlflowClient, location: Location, name: str, tags: dict[str, str]) -> str:
    # Without a location MLflow would use ./mlruns of the working folder; a server knows its own.
    artifacts = location.artifacts.as_uri() if location.artifacts else None
    return str(client.create_experiment(name, artifact_location=artifacts, tags=tags))


def _restore(client: MlflowClient, experiment: Experiment) -> None:
    if experiment.lifecycle_stage == "deleted":
        logger.warning("MLflow's experiment %r was deleted; it is restored, for it is needed again", experiment.name)
        client.restore_experiment(experiment.experiment_id)
