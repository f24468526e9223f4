"""Where MLflow shows a sweep: addresses of its server, or the commands that serve and open a database file."""

from collections.abc import Mapping

from orchestrator.store.sweep import Sweep

PAGES = "mlflow.json"
"""Addresses on an MLflow server, in the folder of a sweep; there is none where a file of one machine has the runs."""
CHARTS, COMPARISON = "charts of all pairs", "robust beside detrimental"


RUNS = "runs"


def save_pages(sweep: Sweep, pages: Mapping[str, str], runs: Mapping[str, str]) -> None:
    """Keeps the addresses of a sweep's pages, by what they show, and those of the runs of its trials, by uid."""
    if pages:
        sweep.folder.write_json(PAGES, {**pages, RUNS: dict(runs)})
    elif sweep.folder.exists(PAGES):
        sweep.folder.delete(PAGES)


def pages_of(sweep: Sweep) -> dict[str, str]:
    """Returns what opens the pages, by what they show: addresses, or commands where no server has the runs."""
    commands = {CHARTS: sweep.command("ui"), COMPARISON: sweep.command("ui", "--compare")}
    saved = {name: where for name, where in (sweep.folder.read_json(PAGES) or {}).items() if name != RUNS}
    return saved or commands


def runs_of(sweep: Sweep) -> dict[str, str]:
    """Returns the addresses of the runs of a sweep's trials, by uid; none where no server has them."""
    return (sweep.folder.read_json(PAGES) or {}).get(RUNS, {})
