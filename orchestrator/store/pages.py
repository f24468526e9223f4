"""Where MLflow shows a sweep: addresses of its server, or the commands that serve and open a database file."""

from collections.abc import Mapping

from orchestrator.store.sweep import Sweep

PAGES = "mlflow.json"
"""Addresses on an MLflow server, in the folder of a sweep; there is none where a file of one machine has the runs."""
CHARTS, COMPARISON = "charts of all pairs", "robust beside detrimental"


def save_pages(sweep: Sweep, pages: Mapping[str, str]) -> None:
    """Keeps the addresses of a sweep's pages, by what they show."""
    if pages:
        sweep.folder.write_json(PAGES, dict(pages))
    elif sweep.folder.exists(PAGES):
        sweep.folder.delete(PAGES)


def pages_of(sweep: Sweep) -> dict[str, str]:
    """Returns what opens the pages, by what they show: addresses, or commands where no server has the runs."""
    commands = {CHARTS: sweep.command("ui"), COMPARISON: sweep.command("ui", "--compare")}
    return sweep.folder.read_json(PAGES) or commands
