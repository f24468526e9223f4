"""The pages of a sweep on an MLflow server that runs: asks it which experiment and which runs they are of."""

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.store.pages import CHARTS
from orchestrator.tracking.experiments import Owner, find_experiment
from orchestrator.tracking.pages import VIEW_TAG, comparison, experiment_tags, runs_page
from orchestrator.tracking.runs import UID_TAG
from search_spaces.errors import TrackingError, one_line
from search_spaces.uris import redact


def find_pages(uri: str, owner: Owner, pairs: Sequence[str] | None) -> dict[str, str]:
    """Returns the addresses of a sweep's pages, by what they show; none where the server has no runs of it.

    Args:
        uri: Of the server; its user name and password stand in no address.
        owner: The sweep.
        pairs: Uids of the pairs to compare, in order; None asks for no comparison.

    Raises:
        TrackingError: The server refuses.
    """
    client, address = MlflowClient(tracking_uri=uri), redact(uri)
    try:
        experiment = find_experiment(client, owner)
        if experiment is None or experiment.lifecycle_stage != "active":
            return {}
        number = str(experiment.experiment_id)
        if VIEW_TAG not in experiment.tags:
            # An earlier version published it.
            for name, value in experiment_tags(has_chosen=False).items():
                client.set_experiment_tag(number, name, value)
        pages = {CHARTS: runs_page(address, number)}
        if pairs is not None:
            runs = client.search_runs([number], f"tags.`{UID_TAG}` LIKE '%'", max_results=50_000)
            by_uid = {run.data.tags[UID_TAG]: str(run.info.run_id) for run in runs}
            found = [by_uid[uid] for uid in pairs if uid in by_uid]
            pages |= comparison(address, number, found)
    except MlflowException as error:
        raise TrackingError(
            f"MLflow at {address} cannot be asked for {owner.sweep!r}: {redact(one_line(error))}"
        ) from None
    return pages
