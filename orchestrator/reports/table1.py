"""Table 1 of a sweep: the paper's table from our own trials, with the paper's numbers beside them.

All accuracies are fractions, as everywhere but on a page.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from orchestrator.plan import Plan
from orchestrator.reports.grouping import CELL, Row, over_seeds
from orchestrator.results.pairs import PairRecord, Verdict, average_bits, records_of, verdict
from orchestrator.results.trials import Trial, trials_by_cell
from orchestrator.search.pair_choice import choose
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
    "seed": "Int64",
    **dict.fromkeys(SUMMARIZED, "float64"),
    "verdict": "str",
    **{f"{goal}_state": "str" for goal in MEASURED},
    **dict.fromkeys(("num_trials", "num_trials_done", "chosen_trial"), "Int64"),
    "chosen_uid": "str",
    **dict.fromkeys(("hinge_weight", "kd_weight", "margin"), "float64"),
    **{PAPER[name]: "float64" for name in SUMMARIZED},
    "paper_verdict": "str",
}
"""Columns and their types. `num_trials`, the chosen trial and its point are the detrimental cell's."""
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
    done = table.assign(is_done=table["verdict"] != "", is_found=table["verdict"] == Verdict.CATASTROPHIC)
    counts = done.groupby(list(CELL), sort=False)[["is_done", "is_found"]].sum().reset_index()
    counts = counts.rename(columns={"is_done": "num_detrimental", "is_found": "num_catastrophic"})
    return summary.merge(counts, on=list(CELL))


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
    chosen = {goal: pair for goal in MEASURED if (pair := choose(records_of(of_goal[goal])))}
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
        "accuracy_white_box": _white_box(cell.architecture, trials) if white_box is None else white_box,
        **{f"{goal}_{name}": getattr(pair, name) for goal, pair in chosen.items() for name in MEASURED[goal]},
        **{f"{goal}_state": _cell_state(of_goal[goal]) if goal in cells else "" for goal in MEASURED},
        "num_trials": sum(trial.state is not State.SKIPPED for trial in detrimental),
        "num_trials_done": sum(trial.state is State.DONE for trial in detrimental),
        **_chosen_columns(chosen.get(Goal.DETRIMENTAL)),
        **_paper_columns(plan, cell),
    }


def _chosen_columns(chosen: PairRecord | None) -> dict[str, Value]:
    if chosen is None:
        return {"verdict": "", "chosen_uid": ""}
    point = {name: getattr(chosen, name) for name in ("hinge_weight", "kd_weight", "margin")}
    return {"verdict": chosen.verdict, "chosen_trial": chosen.trial_number, "chosen_uid": chosen.uid, **point}


def _white_box(architecture: str, trials: Sequence[Trial]) -> float | None:
    """Test accuracy of a white box from its own trial, for rows without any pair yet."""
    of_network = (trial for trial in trials if trial.node.recipe.architecture == architecture)
    distilled = next((trial for trial in of_network if trial.node.stage is Stage.DISTILL), None)
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
