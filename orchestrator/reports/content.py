"""What a report says, before it becomes Markdown or HTML: sentences, tables of text, definitions."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from orchestrator.plan import Plan
from orchestrator.reports.format import is_missing, pct, point, pp
from orchestrator.reports.pairs import PairRecord, Verdict, choose, records_of
from orchestrator.reports.table1 import state_text
from orchestrator.reports.trials import State, Trial
from search_spaces.objective import CATASTROPHIC_DROP, PARITY_PENALTY, PARITY_TOLERANCE


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its header, its group, whether it holds numbers, whether long text may wrap."""

    header: str
    group: str = ""
    is_number: bool = True
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One cell of a table."""

    text: str
    note: str = ""
    """Said more quietly beside the text, in one or more lines: the paper's number, a state."""
    verdict: str = ""
    """The verdict that colours the cell."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table ready to be written down."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Field, ...], ...]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group: its name and how many there are."""
        names = (column.group for column in self.columns)
        return [(name, len(list(same))) for name, same in groupby(names)]


_TOLERANCE, _DROP = f"{100 * PARITY_TOLERANCE:g} pp", f"{100 * CATASTROPHIC_DROP:g} pp"
DEFINITIONS: dict[str, str] = {
    "Pair": "A student network and a policy that chooses the bit-width of every activation, image by image. "
    "A robust pair (R) is trained to survive its policy's quantization, a detrimental pair (D) to break "
    "under it.",
    "White box": "The network that both students start from, distilled from a black box.",
    "Budget": "Exact sum of the bit-widths over all quantized activations of one image, in bits.",
    "FP, delta, drop": "FP is accuracy at full precision. Delta is quantized accuracy minus FP, in "
    "percentage points (pp); a drop is a negative delta.",
    "Parity gap": "FP accuracy of the white box minus FP accuracy of the student. Parity is kept while it is "
    f"at most {_TOLERANCE}: the student passes for its white box.",
    "Verdict": f"On the test split. 'catastrophic': parity kept and a drop of at least {_DROP}. "
    f"'partial drop': parity kept, a drop above {_TOLERANCE} and below {_DROP}. "
    f"'no drop': parity kept, a drop of at most {_TOLERANCE}. "
    f"'drops, parity lost': a drop of at least {_DROP}, but the gap exceeds {_TOLERANCE}. "
    "'parity lost': the gap exceeds it without such a drop.",
    "Choice": "Of a searched cell's trials that keep parity on validation (of all, if none does), and whose objective "
    "is not significantly below the best (within 1.96 standard errors of the difference), the one with the smallest "
    "parity gap there. "
    f"The objective is the drop minus {PARITY_PENALTY:g} times the parity gap "
    f"beyond {_TOLERANCE}. Neither search nor choice looks at the test split.",
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
    refused = f" Refused, because no allocation meets the budget: {len(plan.refused)} cells."
    refused = refused if plan.refused else ""
    if not others:
        return f"Complete: all {len(trials)} trials are done.{refused}"
    summary = ", ".join([f"{counts[State.DONE]} of {len(trials)} trials are done", *others])
    covered = " What follows covers the trials that are done." if counts[State.DONE] else ""
    return f"Not complete: {summary}.{covered}{refused}"


def table1_text(table: pd.DataFrame) -> TextTable:
    """Writes Table 1 down, with the paper's numbers as notes where a cell is one of the paper's."""
    columns: tuple[Column, ...] = (
        Column("Network", is_number=False),
        Column("Options", is_number=False),
        Column("Budget"),
        Column("White box"),
        Column("FP", "Robust"),
        Column("delta", "Robust"),
        Column("FP", "Detrimental"),
        Column("delta", "Detrimental"),
        Column("gap", "Detrimental"),
        Column("verdict", "Detrimental", is_number=False, wraps=True),
        Column("trial", "Detrimental"),
    )
    rows = tuple(_table1_row(row) for row in table.to_dict("records"))
    if not (table["num_trials"] > 1).any():  # without any search there is no trial to tell
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
    paper = "; in parentheses the paper's numbers" if (table["paper_verdict"] != "").any() else ""
    title = f"Accuracy on the test split in percent, delta and gap in percentage points{paper}"
    return TextTable(title, columns, rows)


def search_tables(trials: Sequence[Trial]) -> list[TextTable]:
    """Writes down every trial of every searched cell, with its point, in one table per cell."""
    cells: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.node.cell and trial.node.cell.search_trials:
            cells.setdefault(trial.node.cell.cell_id, []).append(trial)
    columns = (
        Column("trial"),
        *(Column(name, "Point") for name in ("hinge_weight", "kd_weight", "margin")),
        *(Column(name, "Validation") for name in ("FP", "delta", "gap", "objective")),
        *(Column(name, "Test") for name in ("FP", "delta", "gap")),
        Column("verdict", "Test", is_number=False, wraps=True),
    )
    tables = []
    for cell_id, of_cell in cells.items():
        records = records_of(of_cell)
        chosen = choose(records)
        by_uid = {record.uid: record for record in records}
        rows = tuple(_search_row(trial, by_uid.get(trial.node.uid), chosen) for trial in of_cell)
        tables.append(TextTable(cell_id, columns, rows))
    return tables


def trouble_table(plan: Plan, trials: Sequence[Trial]) -> TextTable:
    """Lists what is not done and why: failed, interrupted, blocked and waiting trials, refused cells."""
    pending = [trial for trial in trials if trial.state is not State.DONE]
    pending.sort(key=lambda trial: list(State).index(trial.state))
    rows = [(Field(trial.node.name), Field(str(trial.state)), Field(trial.reason)) for trial in pending]
    rows += [(Field(refusal.cell), Field("refused"), Field(refusal.reason)) for refusal in plan.refused]
    columns = (
        Column("trial or cell", is_number=False),
        Column("state", is_number=False),
        Column("reason", is_number=False, wraps=True),
    )
    return TextTable("", columns, tuple(rows))


def _points(fraction: float) -> str:
    """A loss in percentage points; a gain counts as no loss."""
    return f"{100 * max(0.0, float(fraction)):.1f} pp"


def _table1_row(row: Mapping[Hashable, object]) -> tuple[Field, ...]:
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


def _search_row(trial: Trial, record: PairRecord | None, chosen: PairRecord | None) -> tuple[Field, ...]:
    place = trial.point or {}
    is_chosen = record is not None and record is chosen
    number = Field(str(trial.node.trial_number), note="chosen" if is_chosen else "")
    weights = tuple(Field(point(place.get(name))) for name in ("hinge_weight", "kd_weight", "margin"))
    if record is None:
        return (number, *weights, *[Field("")] * 7, Field(str(trial.state)))
    return (
        number,
        *weights,
        Field(pct(record.validation_accuracy_fp)),
        Field(pp(record.validation_accuracy_delta)),
        Field(pp(record.validation_parity_gap)),
        Field(pct(record.objective)),
        Field(pct(record.accuracy_fp)),
        Field(pp(record.accuracy_delta)),
        Field(pp(record.parity_gap)),
        Field(record.verdict, verdict=record.verdict),
    )
