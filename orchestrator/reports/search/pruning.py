"""Whether ending trials early was safe, and what it saved."""

from collections.abc import Hashable, Sequence

import pandas as pd

from orchestrator.results.searches import SearchedCell, SearchTrial
from orchestrator.results.statistics import correlations
from orchestrator.store.states import State
from search_spaces.names import OBJECTIVES, Objective
from search_spaces.search import rung

ALL = "all"
"""In place of a cell: trials of all cells, by their ranks within each."""


def pruned_trials(searches: Sequence[SearchedCell]) -> list[tuple[SearchedCell, SearchTrial]]:
    """Returns the trials that their studies ended early, with their cells."""
    return [(cell, each) for cell in searches for each in cell.trials if each.trial.state is State.PRUNED]


def rung_correlations(searches: Sequence[SearchedCell], objective: Objective = OBJECTIVES[0]) -> pd.DataFrame:
    """Correlates the objective at half of the epochs with the final one, over the finished trials.

    Returns:
        A row per cell, and with several cells one more for `ALL`, whose trials count by their ranks within their cells,
        so that easy and hard cells do not pass for a correlation: cell, epoch (missing for `ALL`), num_trials, spearman
        in [-1, 1], low and high of its 95 % bootstrap interval, and reason: why there is none.
    """
    objectives = [
        (cell.cell.cell_id, each.number, rung(each.num_epochs), half, each.record.scored(objective))
        for cell in searches
        for each in cell.trials
        if each.record and (half := each.scored_at(rung(each.num_epochs), objective)) is not None
    ]
    finished = pd.DataFrame(objectives, columns=["cell", "trial", "epoch", "at_rung", "final"])
    rows = [_row(cell, of_cell, of_cell["epoch"].iloc[0]) for cell, of_cell in finished.groupby("cell", sort=False)]
    if len(rows) > 1:
        values = ["at_rung", "final"]
        several = finished[finished.groupby("cell")["trial"].transform("size") > 1]
        groups = several.groupby("cell")
        # In (0, 1) whatever the number of trials in a cell.
        ranks = groups[values].rank().sub(0.5).div(groups["trial"].transform("size"), axis=0)
        rows.append(_row(ALL, ranks, None))
    columns = ["cell", "epoch", "num_trials", "spearman", "low", "high", "reason"]
    types = {"epoch": "Int64", "num_trials": "Int64", **dict.fromkeys(("spearman", "low", "high"), "float64")}
    return pd.DataFrame(rows, columns=columns).astype(types)


def _row(cell: object, trials: pd.DataFrame, epoch: int | None) -> dict[Hashable, object]:
    found = correlations(trials[["at_rung"]], trials["final"]).to_dict("records")[0]
    return found | {"cell": str(cell), "epoch": epoch}
