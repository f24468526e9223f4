"""What MLflow's parent run says of the searches."""

from collections.abc import Sequence

from orchestrator.results.verdicts import Outcome
from orchestrator.tracking.runs import Point, points_of

_METRICS = ("trials", "device_seconds", "trials_to_first", "device_seconds_to_first")


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
