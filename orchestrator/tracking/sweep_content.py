"""What MLflow's parent run says of a sweep: its cells over seeds, and its searches.

Of the cells there are six metrics, a curve over the cells each; all else are tables, since a metric per cell would fill
the page of the run before anything else is seen.
"""

from collections.abc import Sequence

import pandas as pd

from orchestrator.results.contrasts import contrasts_of
from orchestrator.results.pairs import PairRecord, pair_records, records_of
from orchestrator.results.searches import read_searches
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import Trial
from orchestrator.results.verdicts import outcome_of, outcome_table
from orchestrator.tracking.points import Point, metric_key
from orchestrator.tracking.tables import table_json
from orchestrator.tracking.writing import SweepContent
from search_spaces.errors import ConfigError
from search_spaces.names import Goal

CELLS, SEARCHES = "cells.json", "searches.json"
"""Tables on the parent run: a row per cell over its seeds, and a row per search."""
_SUMMARIES = {"mean": "mean", "lowest": "min", "highest": "max"}
_MEASURED = ("accuracy_fp", "accuracy_delta", "parity_gap")
_CELL = ("architecture", "option_set", "budget_level", "budget", "goal")


def sweep_content(trials: Sequence[Trial], note: str) -> SweepContent:
    """Returns what the parent run says; equal trials give equal content.

    Args:
        trials: All trials of the sweep, in plan order.
        note: The description, in Markdown.
    """
    pairs = chosen_pairs(records_of(trials))
    cells, outcomes = cells_table(pairs), [outcome_of(cell) for cell in read_searches(trials)]
    tables = {CELLS: table_json(cells)} if len(cells) else {}
    if outcomes:
        tables[SEARCHES] = table_json(outcome_table(outcomes))
    ended_ms = max((trial.finished_ms for trial in trials), default=0)
    chosen = tuple(pair.uid for pair in pairs)
    return SweepContent(note=note, points=_cell_points(cells, ended_ms), tables=tables, chosen=chosen)


def chosen_pairs(records: Sequence[PairRecord]) -> list[PairRecord]:
    """Returns the pairs that stand for their cells, the robust one of a budget beside the detrimental one."""
    return [pair for contrast in contrasts_of(records) for pair in contrast.pairs]


def compared_pairs(snapshot: Snapshot, sweep: str) -> list[str]:
    """Returns the uids of the pairs that stand for the cells of a sweep; see `chosen_pairs`.

    Raises:
        ConfigError: No pair is done.
    """
    uids = [pair.uid for pair in chosen_pairs(pair_records(snapshot))]
    if not uids:
        raise ConfigError(f"no pair of sweep {sweep!r} is done: there is nothing to compare yet.")
    return uids


def cells_table(pairs: Sequence[PairRecord]) -> pd.DataFrame:
    """Returns a row per cell: mean, lowest and highest value over its seeds, and how many are catastrophic.

    Accuracies are fractions of the test split.
    """
    columns = [*_CELL, *_MEASURED, "catastrophic"]
    table = pd.DataFrame([[getattr(pair, name) for name in columns] for pair in pairs], columns=columns)
    if table.empty:
        return table
    table["goal"] = table["goal"].astype(str)
    by_cell = table.groupby(list(_CELL), sort=False)
    summary = by_cell.size().rename("num_seeds").reset_index()
    summary["num_catastrophic"] = by_cell["catastrophic"].sum().to_numpy()
    for name in _MEASURED:
        for word, how in _SUMMARIES.items():
            summary[f"{name}_{word}"] = by_cell[name].agg(how).to_numpy()
    return summary


def _cell_points(cells: pd.DataFrame, timestamp_ms: int) -> list[Point]:
    """Returns the change of accuracy in every cell as metrics, whose step is the cell's place in the table."""
    points: list[Point] = []
    for goal in Goal:
        of_goal = cells[cells["goal"] == str(goal)] if len(cells) else cells
        for place, (_, row) in enumerate(of_goal.iterrows()):
            for word in _SUMMARIES:
                key = metric_key(f"cells/{goal}_accuracy_delta_{word}")
                points.append(Point(key, float(row[f"accuracy_delta_{word}"]), timestamp_ms, place))
    return points
