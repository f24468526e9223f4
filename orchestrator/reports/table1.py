"""Table 1 of a sweep: the paper's table from our own trials, with the paper's numbers beside them.

All accuracies are fractions, as everywhere but on a page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.plan import Plan
from orchestrator.reports.grouping import CELL, Row, over_seeds
from orchestrator.results.claims import Evidence
from orchestrator.results.pairs import (
    PairRecord,
    Verdict,
    average_bits,
    claim_facts,
    records_of,
    representative,
    verdict,
)
from orchestrator.results.statistics import mean_interval
from orchestrator.results.trials import Trial, trials_by_cell
from orchestrator.store.states import State
from search_spaces.budgets import format_bit_widths
from search_spaces.grids.cells import Cell
from search_spaces.names import Goal
from search_spaces.paper import TABLE_1, TABLE_1_WHITE_BOX, is_cell
from search_spaces.stages.registry import Stage

MEASURED: dict[Goal, tuple[str, ...]] = {
    Goal.ROBUST: ("accuracy_fp", "accuracy_delta"),
    Goal.DETRIMENTAL: ("accuracy_fp", "accuracy_delta", "parity_gap"),
}
"""What Table 1 says of the pair of every goal."""
_OF_GOALS = tuple(f"{goal}_{name}" for goal, names in MEASURED.items() for name in names)
SUMMARIZED = ("accuracy_white_box", *_OF_GOALS)
"""Columns whose mean and spread over seeds a summary gives."""
PAPER = {name: f"paper_{name}" for name in _OF_GOALS} | {"accuracy_white_box": "paper_white_box"}
"""Columns of the paper's numbers, by ours."""
TABLE_1_COLUMNS = {
    **dict.fromkeys(("architecture", "option_set", "bit_widths", "budget_level"), "str"),
    "budget": "Int64",
    "average_bits": "float64",
    **dict.fromkeys(("seed", "white_box_seed"), "Int64"),
    **dict.fromkeys(SUMMARIZED, "float64"),
    "verdict": "str",
    "evidence": "str",
    **dict.fromkeys(("num_images", "images_needed"), "Int64"),
    **dict.fromkeys(("parity_gap_low", "parity_gap_high", "drop_low", "drop_high"), "float64"),
    **dict.fromkeys(("validation_accuracy_delta", "validation_parity_gap"), "float64"),
    **{f"{goal}_state": "str" for goal in MEASURED},
    **dict.fromkeys(("num_trials", "num_trials_done", "chosen_trial"), "Int64"),
    "chosen_uid": "str",
    **dict.fromkeys(("hinge_weight", "kd_weight", "margin"), "float64"),
    **{PAPER[name]: "float64" for name in SUMMARIZED},
    "paper_verdict": "str",
}
"""Columns and their types. From `verdict` on, what is of no goal is the detrimental cell's."""
Value = str | int | float | None


def table1(plan: Plan, trials: Sequence[Trial]) -> pd.DataFrame:
    """Builds Table 1 of a sweep.

    Returns:
        One row per network, option set, budget and seed, in grid order, with the columns of
        `TABLE_1_COLUMNS`. Numbers that do not exist (yet) are missing; the two state columns say why, and nothing of a
        goal that the grid does not have.
    """
    rows: dict[tuple[str, str, str, int], dict[Goal, Cell]] = {}
    for cell in plan.grid.cells:
        key = (cell.architecture, cell.option_set, cell.budget_level, cell.seed)
        rows.setdefault(key, {})[cell.goal] = cell
    by_cell = trials_by_cell(trials)
    filled = [_row(plan, cells, by_cell, trials) for cells in rows.values()]
    return pd.DataFrame(filled, columns=list(TABLE_1_COLUMNS)).astype(TABLE_1_COLUMNS)


def table1_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Averages Table 1 over seeds.

    Returns:
        A row per network, option set and budget: num_seeds, mean and standard deviation (`_sd`) of the accuracies, the
        deltas and the parity gap, and of the seeds with a detrimental pair (num_detrimental) how many are catastrophic.
    """
    summary = over_seeds(table, CELL, SUMMARIZED)
    done = table.assign(is_done=table["verdict"] != "", is_found=is_hit(table))
    counts = done.groupby(list(CELL), sort=False)[["is_done", "is_found"]].sum().reset_index()
    counts = counts.rename(columns={"is_done": "num_detrimental", "is_found": "num_catastrophic"})
    return summary.merge(counts, on=list(CELL))


def table1_white_boxes(table: pd.DataFrame) -> pd.DataFrame:
    """Averages Table 1 over white boxes: pairs of one white box are one cluster, whose mean is a single value.

    Returns:
        A row per network, option set and budget: num_white_boxes, num_pairs per white box (the most), and of every
        accuracy, delta and gap the mean over white boxes of the means over their pairs, with Student's 95 % interval
        over white boxes, `_low` and `_high` (missing for one white box); num_catastrophic, num_shown, num_detrimental.
    """
    rows = []
    for cell, of_cell in table.groupby(list(CELL), sort=False):
        clusters = of_cell.groupby("white_box_seed", sort=False)
        row: dict[str, Any] = dict(zip(CELL, cell, strict=True))
        row |= {"num_white_boxes": clusters.ngroups, "num_pairs": int(clusters.size().max())}
        for name in SUMMARIZED:
            mean = mean_interval(list(clusters[name].mean().dropna()))
            row |= {name: mean.mean, f"{name}_low": mean.low, f"{name}_high": mean.high}
        row["num_detrimental"] = int((of_cell["verdict"] != "").sum())
        row["num_catastrophic"] = int(is_hit(of_cell).sum())
        row["num_shown"] = int((of_cell["evidence"] == Evidence.SHOWN).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def is_hit(table: pd.DataFrame) -> "pd.Series[bool]":
    """Tells of every row whether its detrimental pair is catastrophic and not within noise; see `PairRecord.is_hit`."""
    return (table["verdict"] == Verdict.CATASTROPHIC) & table["evidence"].isin(["", Evidence.SHOWN])


def drops_beyond_noise(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows whose detrimental pair drops by more than chance; without counts of images it is believed."""
    done = table.dropna(subset=["detrimental_accuracy_fp"])
    return done[done["drop_low"].isna() | (done["drop_low"] > 0)]


def state_text(row: Row) -> str:
    """Says in one phrase what a row still misses; nothing once the cells of all goals are done.

    Examples:
        >>> state_text({"robust_state": "done", "detrimental_state": "2 of 5 trials done"})
        'detrimental: 2 of 5 trials done'
        >>> state_text({"robust_state": "", "detrimental_state": "done"})
        ''
    """
    states = {goal: str(row[f"{goal}_state"]) for goal in MEASURED}
    missing = {goal: state for goal, state in states.items() if state not in ("", State.DONE)}
    if len(missing) == len(states) and len(set(states.values())) == 1:
        return next(iter(missing.values()))
    return "; ".join(f"{goal}: {state}" for goal, state in missing.items())


def _row(
    plan: Plan, cells: dict[Goal, Cell], by_cell: Mapping[str, list[Trial]], trials: Sequence[Trial]
) -> dict[str, Value]:
    cell = next(iter(cells.values()))
    of_goal = {goal: by_cell.get(cells[goal].cell_id, []) if goal in cells else [] for goal in MEASURED}
    chosen = {goal: pair for goal in MEASURED if (pair := representative(records_of(of_goal[goal])))}
    # The white box as the detrimental pair saw it, where there is one.
    white_box = next((pair.accuracy_white_box for pair in reversed(chosen.values())), None)
    detrimental = of_goal[Goal.DETRIMENTAL]
    return {
        "architecture": cell.architecture,
        "option_set": cell.option_set,
        "bit_widths": format_bit_widths(cell.recipe.bit_widths),
        "budget_level": cell.budget_level,
        "budget": cell.recipe.budget,
        "average_bits": average_bits(cell),
        "seed": cell.seed,
        "white_box_seed": plan.grid.seed if cell.white_box_seed is None else cell.white_box_seed,
        "accuracy_white_box": _white_box(plan, cell, trials) if white_box is None else white_box,
        **{f"{goal}_{name}": getattr(pair, name) for goal, pair in chosen.items() for name in MEASURED[goal]},
        **{f"{goal}_state": _cell_state(of_goal[goal]) if goal in cells else "" for goal in MEASURED},
        "num_trials": sum(trial.state is not State.SKIPPED for trial in detrimental),
        "num_trials_done": sum(trial.state is State.DONE for trial in detrimental),
        **_chosen_columns(chosen.get(Goal.DETRIMENTAL)),
        **_paper_columns(plan, cell),
    }


def _chosen_columns(chosen: PairRecord | None) -> dict[str, Value]:
    if chosen is None:
        return {"verdict": "", "evidence": "", "chosen_uid": ""}
    own = ("hinge_weight", "kd_weight", "margin", "validation_accuracy_delta", "validation_parity_gap", "evidence")
    facts = {name: value for name, value in claim_facts(chosen.claim).items() if name in TABLE_1_COLUMNS}
    values = facts | {name: getattr(chosen, name) for name in own}
    return {"verdict": chosen.verdict, "chosen_trial": chosen.trial_number, "chosen_uid": chosen.uid, **values}


def _white_box(plan: Plan, cell: Cell, trials: Sequence[Trial]) -> float | None:
    """Test accuracy of a white box from its own trial, for rows without any pair yet."""
    seed = plan.grid.seed if cell.white_box_seed is None else cell.white_box_seed
    all_distilled = (trial for trial in trials if trial.node.stage is Stage.DISTILL and trial.node.seed == seed)
    distilled = next((trial for trial in all_distilled if trial.node.recipe.architecture == cell.architecture), None)
    return distilled.metrics.get("test/accuracy") if distilled else None


def _cell_state(trials: Sequence[Trial]) -> str:
    """One phrase: `done`, `2 of 5 trials done, 1 failed`, `refused` (no allocation meets the budget), ..."""
    if not trials:
        return "refused"
    states = [trial.state for trial in trials if trial.state not in (State.PRUNED, State.SKIPPED)]
    done, failed = states.count(State.DONE), states.count(State.FAILED)
    if done == len(states):
        return str(State.DONE)
    if len(states) == 1:
        return str(states[0])
    if done or failed:
        return f"{done} of {len(states)} trials done" + (f", {failed} failed" if failed else "")
    return str(State.INTERRUPTED if State.INTERRUPTED in states else states[0])


def _paper_columns(plan: Plan, cell: Cell) -> dict[str, Value]:
    """The paper's numbers, where dataset, network, option set and budget are the paper's."""
    key = (cell.architecture, cell.option_set, cell.budget_level)
    if not is_cell(plan.grid.dataset.name, *key, cell.recipe.budget):
        return {"paper_verdict": ""}
    # Percent with two decimals have four as fractions; rounding keeps thresholds free of float noise.
    white_box = round(TABLE_1_WHITE_BOX[cell.architecture] / 100, 6)
    robust_fp, robust_delta, fp, delta = (round(percent / 100, 6) for percent in TABLE_1[key])
    numbers = (white_box, robust_fp, robust_delta, fp, delta, round(white_box - fp, 6))
    word = verdict(accuracy_white_box=white_box, accuracy_fp=fp, accuracy_q=round(fp + delta, 6))
    return {PAPER[name]: value for name, value in zip(SUMMARIZED, numbers, strict=True)} | {"paper_verdict": word}
