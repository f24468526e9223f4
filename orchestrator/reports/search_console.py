"""What a terminal and MLflow get of the searches of a sweep: a line per cell, and its numbers."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.reports.search_tables import or_more, verdict_text
from orchestrator.reports.search_verdicts import Outcome, SearchVerdict
from orchestrator.tracking_replay import Point, points_of

_STYLES = {SearchVerdict.CATASTROPHIC: "bold red", SearchVerdict.SOMETIMES: "yellow"}
_METRICS = ("trials", "device_seconds", "trials_to_first", "device_seconds_to_first")


def render_searches(outcomes: Sequence[Outcome]) -> Table:
    """Draws what every search found and what its first pair cost, within 100 columns.

    Args:
        outcomes: Of the searched cells, at least one.
    """
    rendered = Table(
        title=Text("Searched cells: verdict on test, and the cost of the first pair"),
        caption="first: until the first pair that is catastrophic on validation; > : without any",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    rendered.add_column("cell", max_width=38, overflow="fold")
    rendered.add_column("verdict", max_width=28)
    for header in ("trials", "first\ntrial", "device-\nseconds"):
        rendered.add_column(header, justify="right", no_wrap=True)
    for outcome in outcomes:
        rendered.add_row(
            outcome.searched.title,
            Text(verdict_text(outcome), style=_STYLES.get(outcome.verdict, "")),
            str(outcome.num_ended),
            or_more(outcome.trials_to_first, outcome.num_ended),
            or_more(outcome.device_seconds_to_first, outcome.device_seconds),
        )
    return rendered


def search_metrics(outcomes: Sequence[Outcome]) -> list[Point]:
    """Returns the numbers of every search as MLflow metrics, `search/<cell>/...`; those of no pair are left out.

    They are of the moment at which the latest trial of the cell ended, and their step is how many ended.
    """
    points: list[Point] = []
    for outcome in (outcome for outcome in outcomes if outcome.num_ended):
        cell_id, ended = outcome.searched.cell.cell_id, outcome.searched.ended
        numbers = (
            outcome.num_ended,
            outcome.device_seconds,
            outcome.trials_to_first,
            outcome.device_seconds_to_first,
        )
        named = {f"search/{cell_id}/{name}": value for name, value in zip(_METRICS, numbers, strict=True)}
        points += points_of(named.items(), ended[-1].ended_ms, outcome.num_ended)
    return points
