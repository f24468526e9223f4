"""What a report says, before it becomes Markdown or HTML: sentences, tables of text, definitions."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from orchestrator.analyses.tasks import Missing
from orchestrator.plan import Plan
from orchestrator.reports.document import CELL_COLUMNS, Column, Field, TextTable, cell_fields, pct, pp, spread_field
from orchestrator.reports.grouping import Row, is_missing
from orchestrator.reports.table1 import SUMMARIZED, state_text
from orchestrator.results.pairs import Verdict
from orchestrator.results.trials import Curve, Trial
from orchestrator.store.states import State
from search_spaces.objective import CATASTROPHIC_DROP, PARITY_PENALTY, PARITY_TOLERANCE, is_catastrophic
from search_spaces.recipes import Goal

TOLERANCE, DROP = f"{100 * PARITY_TOLERANCE:g} pp", f"{100 * CATASTROPHIC_DROP:g} pp"
DEFINITIONS: dict[str, str] = {
    "Pair": "A student network and a policy that chooses the bit-width of every activation, image by image. "
    "A robust pair (R) is trained to survive its policy's quantization, a detrimental pair (D) to break "
    "under it.",
    "White box": "The network that both students start from, distilled from a black box.",
    "Budget": "Exact sum of the bit-widths over all quantized activations of one image, in bits.",
    "FP, delta, drop": "FP is accuracy at full precision. Delta is quantized accuracy minus FP, in "
    "percentage points (pp); a drop is a negative delta.",
    "Parity gap": "FP accuracy of the white box minus FP accuracy of the student. Parity is kept while it is "
    f"at most {TOLERANCE}: the student passes for its white box.",
    "Verdict": f"On the test split. 'catastrophic': parity kept and a drop of at least {DROP}. "
    f"'partial drop': parity kept, a drop above {TOLERANCE} and below {DROP}. "
    f"'no drop': parity kept, a drop of at most {TOLERANCE}. "
    f"'drops, parity lost': a drop of at least {DROP}, but the gap exceeds {TOLERANCE}. "
    "'parity lost': the gap exceeds it without such a drop.",
    "Choice": "Of a searched cell's trials that keep parity on validation (of all, if none does), and whose objective "
    "is not significantly below the best (within 1.96 standard errors of the difference), the one with the smallest "
    "parity gap there. "
    f"The objective is the drop minus {PARITY_PENALTY:g} times the parity gap "
    f"beyond {TOLERANCE}. Neither search nor choice looks at the test split.",
}


def headline(table: pd.DataFrame) -> str:
    """Says in one sentence what Table 1 shows."""
    detrimental = table.dropna(subset=["detrimental_accuracy_fp"])
    robust = table["robust_accuracy_delta"].dropna()
    parts = []
    if len(detrimental):
        found = detrimental[detrimental["verdict"] == Verdict.CATASTROPHIC]
        count = f"{len(found)} of {len(detrimental)}"
        if len(found):
            gap = _points(found["detrimental_parity_gap"].max())
            parts.append(
                f"Detrimental pairs lost up to {_points(-found['detrimental_accuracy_delta'].min())} under "
                f"quantization while {'matching' if gap == _points(0.0) else f'staying within {gap} of'} "
                f"their white box (catastrophic: {count})"
            )
        else:
            worst = detrimental.sort_values("detrimental_accuracy_delta").iloc[0]
            parts.append(
                f"No detrimental pair is catastrophic (0 of {len(detrimental)}): the largest drop is "
                f"{_points(-worst['detrimental_accuracy_delta'])}, at a parity gap of "
                f"{_points(worst['detrimental_parity_gap'])}"
            )
    if len(robust):
        parts.append(f"robust pairs lost at most {_points(-robust.min())}")
    if not parts:
        return "No pair is done yet."
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def progress(plan: Plan, trials: Sequence[Trial]) -> str:
    """Says how much of the sweep is done; `Complete` only where nothing is left, failed or refused."""
    counts = Counter(trial.state for trial in trials)
    others = [f"{counts[state]} {state}" for state in State if state is not State.DONE and counts[state]]
    searched = ", ".join(f"{counts[state]} {state}" for state in (State.PRUNED, State.SPARED) if counts[state])
    refused = f" Refused, because no allocation meets the budget: {len(plan.refused)} cells."
    refused = refused if plan.refused else ""
    if not any(state.needs_work for state in counts):
        spared = f"{counts[State.DONE]} trials are done, {searched} by the search" if searched else ""
        return f"Complete: {spared or f'all {len(trials)} trials are done'}.{refused}"
    summary = ", ".join([f"{counts[State.DONE]} of {len(trials)} trials are done", *others])
    covered = " What follows covers the trials that are done." if counts[State.DONE] else ""
    return f"Not complete: {summary}.{covered}{refused}"


def table1_text(table: pd.DataFrame) -> TextTable:
    """Writes Table 1 down, with the paper's numbers as notes where a cell is one of the paper's."""
    has_seeds = table["seed"].nunique() > 1
    columns: tuple[Column, ...] = (
        Column("Network", is_number=False),
        Column("Options", is_number=False),
        Column("Budget"),
        *([Column("Seed")] if has_seeds else []),
        Column("White box"),
        Column("FP", "Robust"),
        Column("delta", "Robust"),
        Column("FP", "Detrimental"),
        Column("delta", "Detrimental"),
        Column("gap", "Detrimental"),
        Column("verdict", "Detrimental", is_number=False, wraps=True),
        Column("trial", "Detrimental"),
    )
    rows = tuple(_table1_row(row, has_seeds=has_seeds) for row in table.to_dict("records"))
    if not (table["num_trials"] > 1).any():  # without any search there is no trial to tell
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
    paper = "; in parentheses the paper's numbers" if (table["paper_verdict"] != "").any() else ""
    title = f"Accuracy on the test split in percent, delta and gap in percentage points{paper}"
    return TextTable(title, columns, rows)


def table1_summary_text(summary: pd.DataFrame) -> TextTable:
    """Writes the means over seeds of Table 1 down."""
    rows = tuple(
        (
            *cell_fields(row, with_seeds=True),
            *(spread_field(row, name, pp if "delta" in name or "gap" in name else pct) for name in SUMMARIZED),
            Field(f"{row['num_catastrophic']} of {row['num_detrimental']}"),
        )
        for row in summary.to_dict("records")
    )
    columns = (
        *CELL_COLUMNS,
        Column("seeds"),
        Column("White box"),
        *(Column(name, "Robust") for name in ("FP", "delta")),
        *(Column(name, "Detrimental") for name in ("FP", "delta", "gap", "catastrophic")),
    )
    return TextTable("Means over seeds \N{PLUS-MINUS SIGN} standard deviation", columns, rows)


def training_statement(curves: Mapping[str, Mapping[Goal, Curve]]) -> str:
    """Says when the detrimental pairs begin to drop by what counts as catastrophic, on validation."""
    shown = [of_goal[Goal.DETRIMENTAL] for of_goal in curves.values() if Goal.DETRIMENTAL in of_goal]
    first = [
        next(
            (epoch for epoch, fp, q in zip(c.epochs, c.accuracy_fp, c.accuracy_q, strict=True) if _is_drop(fp, q)), None
        )
        for c in shown
    ]
    known = [epoch for epoch in first if epoch is not None]
    if not known:
        return f"No detrimental pair ever drops by {DROP} on validation." if shown else ""
    when = f"epoch {min(known):g}" if min(known) == max(known) else f"epochs {min(known):g} to {max(known):g}"
    return f"{len(known)} of {len(shown)} detrimental pairs drop by {DROP} on validation, for the first time in {when}."


def _is_drop(accuracy_fp: float, accuracy_q: float) -> bool:
    """Tells whether a pair drops by what counts as catastrophic, whatever became of parity."""
    return is_catastrophic(accuracy_white_box=accuracy_fp, accuracy_fp=accuracy_fp, accuracy_q=accuracy_q)


def trouble_table(plan: Plan, trials: Sequence[Trial], missing: Sequence[Missing] = ()) -> TextTable:
    """Lists what is not done and why: failed, interrupted, blocked and waiting trials, refused cells, analyses."""
    pending = [trial for trial in trials if trial.state.needs_work]
    pending.sort(key=lambda trial: list(State).index(trial.state))
    rows = [(Field(trial.node.name), Field(str(trial.state)), Field(trial.reason)) for trial in pending]
    rows += [(Field(refusal.cell), Field("refused"), Field(refusal.reason)) for refusal in plan.refused]
    rows += [(Field(each.name), Field("not analyzed"), Field(each.reason)) for each in missing]
    columns = (
        Column("trial, cell or analysis" if missing else "trial or cell", is_number=False),
        Column("state", is_number=False),
        Column("reason", is_number=False, wraps=True),
    )
    return TextTable("", columns, tuple(rows))


def _points(fraction: float) -> str:
    """A loss in percentage points; a gain counts as no loss."""
    return f"{100 * max(0.0, float(fraction)):.1f} pp"


def _table1_row(row: Row, *, has_seeds: bool) -> tuple[Field, ...]:
    level, budget, chosen = row["budget_level"], row["budget"], row["chosen_trial"]
    named = "" if level == f"{budget}b" else f"{level} "
    planned = row["num_trials"]
    is_chosen = isinstance(planned, int) and planned > 1 and not is_missing(chosen)
    word = str(row["verdict"])
    state = state_text(str(row["robust_state"]), str(row["detrimental_state"]))
    paper = f"paper: {row['paper_verdict']}" if row["paper_verdict"] else ""
    notes = [note for note in (state if word else "", paper) if note]
    return (
        Field(str(row["architecture"])),
        Field(f"{row['option_set']} ({row['bit_widths']})"),
        Field(f"{named}{budget}"),
        *([Field(str(row["seed"]))] if has_seeds else []),
        _beside(pct(row["accuracy_white_box"]), pct(row["paper_white_box"])),
        *(
            _beside(write(row[name]), write(row[f"paper_{name}"]))
            for name, write in (
                ("robust_accuracy_fp", pct),
                ("robust_accuracy_delta", pp),
                ("detrimental_accuracy_fp", pct),
                ("detrimental_accuracy_delta", pp),
                ("detrimental_parity_gap", pp),
            )
        ),
        Field(word or state, note="\n".join(notes), verdict=word),
        Field(str(chosen), note=f"of {planned}") if is_chosen else Field(""),
    )


def _beside(ours: str, paper: str) -> Field:
    """Our number and the paper's; a dash holds the place of ours while it is missing."""
    return Field(ours or "-" if paper else ours, note=paper)
