"""The data and the figure of `compare`: what every arm found, and what it spent to find it.

What an arm found it found on the validation split; whether it holds is then asked of the test split, once per cell.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from orchestrator.plan import Plan
from orchestrator.reports.drawing import DASHES, DETRIMENTAL, DOTS, INK, MUTED, ROBUST, style
from orchestrator.results.pairs import records_of, representative
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.results.time_to_pair import kaplan_meier, logrank_p
from orchestrator.results.trials import Trial, read_trials, trials_by_cell
from orchestrator.search.arms import Arm
from orchestrator.store.store import Store
from search_spaces.names import Goal

_LINES = {
    Arm.AS_PUBLISHED: (MUTED, DASHES),
    Arm.RECIPE: (INK, DASHES),
    Arm.RANDOM: (ROBUST, "-"),
    Arm.SEARCH: (DETRIMENTAL, "-"),
    Arm.FROZEN: (INK, DOTS),
    Arm.STATIC: (MUTED, "-"),
    Arm.QU_ANTI_ZATION: (MUTED, DOTS),
    Arm.GUMBEL: (ROBUST, DASHES),
    Arm.PENALTY: (DETRIMENTAL, DASHES),
    Arm.REINFORCE: (ROBUST, DOTS),
    Arm.RESCALED: (INK, "-"),
}
_LEGEND_COLUMNS = 4
"""As many of the longest labels as the figure is wide."""


def comparison(plans: Mapping[Arm, Plan], store: Store) -> pd.DataFrame:
    """Returns one row per arm and cell.

    Columns: arm, cell_id, is_done (nothing more is to be run), trials, epochs and device_seconds of all its trials,
    pruned ones too; found (on validation), trials_to_first, epochs_to_first and device_seconds_to_first (up to the end
    of the first pair that qualifies there; missing where none does); of the pair that stands for the cell on the test
    split catastrophic, shown (chance is excluded, too), evidence, parity_gap and drop (fractions); and held: found, and
    that pair is catastrophic. Where pairs qualify, one of them stands for the cell. white_box names its network.
    budget is in bits; mean_bits and on_budget (fraction of test images) say what that pair spends of it.

    Args:
        plans: Of the arms that were launched: arms share trials, so that others may have some, too.
        store: Holds the trials.
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
    chosen = representative(records)
    is_catastrophic = chosen is not None and chosen.catastrophic
    return {
        "white_box": white_box_name(trials[0]),
        "is_done": not any(trial.state.is_open for trial in trials),
        "trials": len(spent),
        "epochs": sum(map(len, spent)),
        "device_seconds": _seconds(spent),
        "found": first is not None,
        "trials_to_first": len(to_first) or None,
        "epochs_to_first": sum(map(len, to_first)) or None,
        "device_seconds_to_first": _seconds(to_first) or None,
        "catastrophic": is_catastrophic,
        "held": bool(qualifying) and is_catastrophic,
        "shown": bool(qualifying) and chosen is not None and chosen.is_shown,
        "evidence": chosen.evidence if chosen else "",
        "parity_gap": chosen.parity_gap if chosen else None,
        "drop": -chosen.accuracy_delta if chosen else None,
        **_spent(chosen.uid if chosen else "", trials),
        "chosen_uid": chosen.uid if chosen else "",
    }


def _spent(uid: str, trials: Sequence[Trial]) -> dict[str, float | None]:
    """What a pair spends on test images; only pairs that nothing holds to their budget say it themselves."""
    budget = next(trial.node.cell.recipe.budget for trial in trials if trial.node.cell)
    metrics = next((trial.metrics for trial in trials if trial.node.uid == uid), None)
    return {
        "budget": budget,
        "mean_bits": None if metrics is None else metrics.get("test/mean_bits", budget),
        "on_budget": None if metrics is None else metrics.get("test/on_budget", 1.0),
    }


def white_box_name(trial: Trial) -> str:
    """Names the white box of a trial of a cell: cells of one are one cluster."""
    cell = trial.node.cell
    assert cell
    return cell.architecture if cell.white_box_seed is None else f"{cell.architecture}/seed{cell.white_box_seed}"


def _seconds(trials: Sequence[Sequence[Mapping[str, Any]]]) -> float:
    return sum(sum(row["seconds"] for row in rows) for rows in trials)


def without_pair(cells: pd.DataFrame) -> pd.DataFrame:
    """Estimates the share of an arm's cells that have no pair yet, over epochs; see `kaplan_meier`.

    Examples:
        >>> cells = pd.DataFrame({"epochs_to_first": [10.0, None, 30.0], "epochs": [10.0, 50.0, 90.0]})
        >>> [round(share, 2) for share in without_pair(cells)["share"]]
        [0.67, 0.33, 0.33]
    """
    return kaplan_meier(*_times(cells))


def logrank_of(cells: pd.DataFrame, other: pd.DataFrame) -> float:
    """Returns the p-value of the log-rank test of two arms, over epochs; see `logrank_p`."""
    return logrank_p(*_times(cells), *_times(other))


def _times(cells: pd.DataFrame) -> tuple[list[float], list[bool]]:
    found = cells["epochs_to_first"].astype(float)
    return found.fillna(cells["epochs"].astype(float)).to_list(), found.notna().to_list()


@style()
def figure_comparison(table: pd.DataFrame) -> Figure:
    """Draws how many cells lack a hit over the training epochs spent per cell."""
    num_rows = math.ceil(table["arm"].nunique() / _LEGEND_COLUMNS)
    figure = Figure(figsize=(7.2, 3.4 + 0.2 * num_rows), layout="constrained")
    panel = figure.subplots()
    for arm in Arm:
        cells = table[(table["arm"] == arm) & (table["trials"] > 0)]
        if cells.empty:
            continue
        color, dashes = _LINES[arm]
        curve = without_pair(cells)
        shares = [100, *100 * curve["share"]]
        panel.step([0, *curve["epochs"]], shares, where="post", color=color, linestyle=dashes, label=arm.label)
        censored = curve[curve["num_censored"] > 0]
        panel.plot(censored["epochs"], 100 * censored["share"], "|", color=color, markersize=11)
    panel.set(ylim=(-3, 103), xlim=(0, None))
    panel.set_xlabel("training epochs spent on a cell\n| ended without a hit")
    panel.set_ylabel("cells without a hit (%)\nKaplan-Meier")
    figure.suptitle("Which way finds a hit, and how soon")
    figure.legend(loc="outside lower center", ncols=_LEGEND_COLUMNS)
    return figure
