"""What MLflow's parent run says of the searches."""

from collections.abc import Sequence

from orchestrator.results.verdicts import Outcome
from orchestrator.tracking.runs import Point, points_of


def search_metrics(outcomes: Sequence[Outcome]) -> list[Point]:
    """Returns the numbers of every search as MLflow metrics, `search/<cell>/...`; those of no pair are left out.

    They are of the moment at which the latest trial of the cell ended, and their step is how many ended.
    """
    points: list[Point] = []
    for outcome in (outcome for outcome in outcomes if outcome.num_ended):
        numbers = {
            "trials": outcome.num_ended,
            "epochs": outcome.num_epochs,
            "device_seconds": outcome.device_seconds,
            "trials_to_first": outcome.trials_to_first,
            "epochs_to_first": outcome.epochs_to_first,
            "device_seconds_to_first": outcome.device_seconds_to_first,
            "seeds_catastrophic": outcome.finding.num_catastrophic if outcome.finding else None,
            "seeds_shown": outcome.finding.num_shown if outcome.finding else None,
        }
        named = {f"search/{outcome.searched.cell.cell_id}/{name}": value for name, value in numbers.items()}
        points += points_of(named.items(), outcome.searched.ended[-1].ended_ms, outcome.num_ended)
    return points
