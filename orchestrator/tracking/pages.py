"""MLflow's pages of a sweep: their addresses, and the view in which the runs open.

MLflow opens on pages for language models and hides pairs under their sweep. So links name the page of trained models
and its charts, and the experiment has a view that lists pairs and not what they are made of. Read in MLflow 3.17: a
view is a tag of the experiment, as its button `Share` writes one.
"""

import json
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from orchestrator.store.pages import COMPARISON

VIEW = "dptq"
"""Name of the view in addresses."""
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
PRIMARY_METRIC_TAG = "mlflow.experiment.primaryMetric.name"
STANDS_TAG = "dptq.stands_for_cell"
"""On the pairs that stand for their cells: `true`."""
PRIMARY_METRIC = "test/accuracy_delta"
MOST_COMPARED = 60
"""Runs in a comparison: the 54 cells of the paper fit, and addresses have an end."""
_COLUMNS = (
    *(f"metrics.`test/{name}`" for name in ("accuracy_delta", "accuracy_fp", "accuracy_q", "parity_gap")),
    *(f"tags.`dptq.{name}`" for name in ("verdict", "hit", "goal", "cell")),
    *(f"params.`{name}`" for name in ("hinge_weight", "kd_weight", "margin")),
    "attributes.`Dataset`",
)


def experiment_tags(*, has_chosen: bool) -> dict[str, str]:
    """Returns the tags by which MLflow shows a sweep's experiment.

    `has_chosen` says whether pairs stand for their cells yet; until then the view has all pairs.
    """
    chosen = f"tags.`{STANDS_TAG}` = 'true'" if has_chosen else "tags.`dptq.stage` = 'pair'"
    view = {
        "searchFilter": chosen,
        # By their names: robust beside detrimental. Runs that are sorted so are not folded into their parent.
        "orderByKey": "attributes.`run_name`",
        "orderByAsc": True,
        "selectedColumns": list(_COLUMNS),
        "runsHiddenMode": "FIRST_20_RUNS",
    }
    return {VIEW_TAG: json.dumps(view), PRIMARY_METRIC_TAG: PRIMARY_METRIC}


def runs_page(address: str, experiment_id: str) -> str:
    """Returns the page with the charts of a sweep's pairs.

    Examples:
        >>> runs_page("http://127.0.0.1:5000", "1")
        'http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=dptq'
    """
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW}"
    return f"{address}/#/experiments/{experiment_id}/runs?{query}"


def run_page(address: str, experiment_id: str, run_id: str) -> str:
    """Returns the page of a run, which begins with its description."""
    return f"{address}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def artifact_page(experiment_id: str, run_id: str, path: str) -> str:
    """Returns the page of an artifact, as it is linked from another page of the same server."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}"


def comparison_page(address: str, experiment_id: str, run_ids: Iterable[str]) -> str:
    """Returns MLflow's comparison of runs, in the given order.

    Examples:
        >>> comparison_page("http://host", "1", ["a", "b"])
        'http://host/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%221%22%5D&workflowType=machine_learning'
    """
    query = f"runs={_listed([*run_ids][:MOST_COMPARED])}&experiments={_listed([experiment_id])}"
    return f"{address}/#/compare-runs?{query}&workflowType=machine_learning"


def comparison(address: str, experiment_id: str, run_ids: Sequence[str]) -> dict[str, str]:
    """Returns the address of the comparison of runs by what it shows, which says how many it leaves out; none of none.

    Examples:
        >>> list(comparison("http://host", "1", ["a"] * 108))
        ['robust beside detrimental (the first 60 of 108 pairs)']
    """
    num = len(run_ids)
    some = f" (the first {MOST_COMPARED} of {num} pairs)" if num > MOST_COMPARED else ""
    return {f"{COMPARISON}{some}": comparison_page(address, experiment_id, run_ids)} if run_ids else {}


def _listed(names: Sequence[str]) -> str:
    return quote(json.dumps(names, separators=(",", ":")))
