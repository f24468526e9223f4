"""The data and the figure of `compare-search`: what every arm found, and what it spent to find it.

What an arm found it found on the validation split; whether it holds is then asked of the test split, once per cell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from orchestrator.plan import Plan
from orchestrator.reports.drawing import DASHES, DETRIMENTAL, INK, MUTED, ROBUST, style
from orchestrator.results.pairs import records_of
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.results.time_to_pair import kaplan_meier
from orchestrator.results.trials import Trial, read_trials, trials_by_cell
from orchestrator.search.arms import Arm
from orchestrator.search.pair_choice import choose
from orchestrator.store.store import Store
from search_spaces.names import Goal

TITLES = {
    Arm.AS_PUBLISHED: "as published",
    Arm.RECIPE: "our recipe",
    Arm.RANDOM: "random search",
    Arm.SEARCH: "the search",
}
_LINES = {
    Arm.AS_PUBLISHED: (MUTED, DASHES),
    Arm.RECIPE: (INK, DASHES),
    Arm.RANDOM: (ROBUST, "-"),
    Arm.SEARCH: (DETRIMENTAL, "-"),
}


def comparison(plans: Mapping[Arm, Plan], store: Store) -> pd.DataFrame:
    """Returns one row per arm and cell.

    Columns: arm, cell_id, is_done (nothing more is to be run), trials, epochs and device_seconds of all its trials,
    pruned ones too; found (on validation), trials_to_first, epochs_to_first and device_seconds_to_first (up to the end
    of the first pair that qualifies there; missing where none does); and of the pair that stands for the cell on the
    test split catastrophic, parity_gap and drop (fractions).
    """
    rows = []
    for arm, plan in plans.items():
        trials = read_trials(Snapshot(plan, store, ahead=EVERYTHING))
        cells = trials_by_cell(each for each in trials if each.node.cell and each.node.cell.goal is Goal.DETRIMENTAL)
        rows += [{"arm": str(arm), "cell_id": cell_id, **_row(of_cell)} for cell_id, of_cell in cells.items()]
    return pd.DataFrame(rows)


def _row(trials: Sequence[Trial]) -> dict[str, object]:
    records = records_of(trials)
    qualifying = {record.uid for record in records if record.is_qualifying}
    begun = [(trial.node.uid, trial.folder.epochs()) for trial in trials if trial.state.has_begun]
    begun.sort(key=lambda each: each[1][-1]["timestamp_ms"] if each[1] else 0)
    first = next((place for place, (uid, _) in enumerate(begun) if uid in qualifying), None)
    spent = [rows for _, rows in begun]
    to_first = spent[: first + 1] if first is not None else []
    chosen = choose(records)
    return {
        "is_done": not any(trial.state.is_open for trial in trials),
        "trials": len(spent),
        "epochs": sum(map(len, spent)),
        "device_seconds": _seconds(spent),
        "found": first is not None,
        "trials_to_first": len(to_first) or None,
        "epochs_to_first": sum(map(len, to_first)) or None,
        "device_seconds_to_first": _seconds(to_first) or None,
        "catastrophic": chosen is not None and chosen.catastrophic,
        "parity_gap": chosen.parity_gap if chosen else None,
        "drop": -chosen.accuracy_delta if chosen else None,
        "chosen_uid": chosen.uid if chosen else "",
    }


def _seconds(trials: Sequence[Sequence[Mapping[str, Any]]]) -> float:
    return sum(sum(row["seconds"] for row in rows) for rows in trials)


def without_pair(cells: pd.DataFrame) -> pd.DataFrame:
    """Estimates the share of an arm's cells that have no pair yet, over device-seconds; see `kaplan_meier`.

    Examples:
        >>> cells = pd.DataFrame({"device_seconds_to_first": [10.0, None, 30.0], "device_seconds": [10.0, 50.0, 90.0]})
        >>> [round(share, 2) for share in without_pair(cells)["share"]]
        [0.67, 0.33, 0.33]
    """
    found = cells["device_seconds_to_first"].astype(float)
    return kaplan_meier(found.fillna(cells["device_seconds"]).to_list(), found.notna().to_list())


@style()
def figure_comparison(table: pd.DataFrame) -> Figure:
    """Draws how many cells have a hit over the training epochs spent per cell, and how many lack one over seconds."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    by_epochs, by_seconds = figure.subplots(1, 2)
    last = table["epochs"].max()
    for arm in Arm:
        cells = table[(table["arm"] == arm) & (table["trials"] > 0)]
        if cells.empty:
            continue
        color, dashes = _LINES[arm]
        known = np.sort(cells["epochs_to_first"].dropna().to_numpy(dtype=float))
        shares = 100 * np.arange(len(known) + 1) / len(cells)
        by_epochs.step(
            [0, *known, last], [*shares, shares[-1]], where="post", color=color, linestyle=dashes, label=TITLES[arm]
        )
        curve = without_pair(cells)
        times = [0, *curve["device_seconds"]]
        by_seconds.step(times, [100, *100 * curve["share"]], where="post", color=color, linestyle=dashes)
        censored = curve[curve["num_censored"] > 0]
        by_seconds.plot(censored["device_seconds"], 100 * censored["share"], "|", color=color, markersize=11)
    by_epochs.set(ylim=(0, 102), xlim=(0, last))
    by_epochs.set(xlabel="training epochs spent on a cell", ylabel="cells with a pair (%)\non validation")
    by_seconds.set(ylim=(-3, 103), xlim=(0, None))
    by_seconds.set_xlabel("device-seconds spent on a cell\n| ended without a hit")
    by_seconds.set_ylabel("cells without a hit (%)\nKaplan-Meier")
    figure.suptitle("Which way finds a hit, and how soon")
    figure.legend(loc="outside lower center", ncols=len(Arm))
    return figure
