"""What a report says, before it becomes Markdown or HTML: sentences, tables of text, definitions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from orchestrator.analyses.tasks import Missing
from orchestrator.plan import Plan
from orchestrator.reports.grouping import Row, is_missing
from orchestrator.reports.layout import (
    NETWORK,
    Column,
    Field,
    TextTable,
    Writer,
    budget_text,
    cell_name,
    cell_table,
    interval_text,
    judged,
    judged_cell,
    pct,
    pp,
    spread_field,
    text_table,
    with_note,
)
from orchestrator.reports.table1 import MEASURED, PAPER, SUMMARIZED, drops_beyond_noise, is_hit, state_text
from orchestrator.results.cell_verdicts import CellVerdict
from orchestrator.results.pairs import Verdict
from orchestrator.results.standing import Standing
from orchestrator.results.trials import Curve, Trial
from orchestrator.store.states import State
from search_spaces.names import Goal
from search_spaces.objective import CATASTROPHIC_DROP, PARITY_PENALTY, PARITY_TOLERANCE, is_catastrophic

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
    "Evidence": "A verdict says what the test images at hand did. 'shown' beside it says that chance is excluded, too: "
    f"paired one-sided tests find the gap not above {TOLERANCE} and the drop not below {DROP}, each at a level of 5 % "
    "unless the grid says otherwise (score test of Tango 1998). 'within noise' says that the verdict hangs on fewer "
    "images than the interval is wide, and how many would do at the measured gap and share of answers that differ "
    "(power 90 %); it is not counted as a hit. Intervals have one-sided 95 % bounds, those of the tests.",
    "Choice": "Of a searched cell's hits on validation (where there is none, of its trials that keep parity there, or "
    "else of all) whose objective is not significantly below the best (within 1.96 standard errors of the difference), "
    "the one with the smallest parity gap there. "
    f"The objective is the drop minus {PARITY_PENALTY:g} times the parity gap "
    f"beyond {TOLERANCE}. Neither search nor choice looks at the test split.",
}


def headline(table: pd.DataFrame) -> str:
    """Says in one sentence what Table 1 shows."""
    detrimental = table.dropna(subset=["detrimental_accuracy_fp"])
    robust = table["robust_accuracy_delta"].dropna()
    parts = []
    found = detrimental[is_hit(detrimental)]
    num_noise = int((detrimental["verdict"] == Verdict.CATASTROPHIC).sum()) - len(found)
    noise = f"; within noise: {num_noise}" if num_noise else ""
    if len(found):
        gap = _points(found["detrimental_parity_gap"].max())
        parts.append(
            f"Detrimental pairs lost up to {_points(-found['detrimental_accuracy_delta'].min())} under quantization "
            f"while {'matching' if gap == _points(0.0) else f'staying within {gap} of'} their white box (catastrophic: "
            f"{len(found)} of {len(detrimental)}{noise})"
        )
    elif len(detrimental):
        parts.append(f"No detrimental pair is catastrophic (0 of {len(detrimental)}{noise}): {_largest(detrimental)}")
    if len(robust):
        parts.append(f"robust pairs lost at most {_points(-robust.min())}")
    if not parts:
        return "No pair is done yet."
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def progress(plan: Plan, standing: Standing) -> str:
    """Says how far the sweep is, and what was refused."""
    count, text = standing.count, standing.text
    covered = " What follows covers the trials that are done." if 0 < count.done < count.needed else ""
    refused = f" Refused, because no allocation meets the budget: {len(plan.refused)} cells." if plan.refused else ""
    return f"{text[0].upper()}{text[1:]}.{covered}{refused}"


def table1_text(
    table: pd.DataFrame, verdicts: Sequence[CellVerdict] = (), *, chance: float | None = None, is_short: bool = False
) -> TextTable:
    """Lays out Table 1, with the paper's numbers as notes where a cell is one of the paper's.

    Args:
        table: From `table1`.
        verdicts: On its cells; without one a cell has that of its pair alone.
        chance: Accuracy of who guesses, a fraction.
        is_short: For a terminal, within 80 columns: names cells as other tables do, without their bit-widths, and a
            single network and the white box in the heading only.
    """
    networks = table["architecture"].unique()
    one_network = is_short and len(networks) == 1
    by_uid = {verdict.uid: verdict for verdict in verdicts}
    # Without any search there is no trial to tell, without a second seed no seed.
    is_searched, has_seeds = bool((table["num_trials"] > 1).any()), table["seed"].nunique() > 1
    columns = (
        *([] if one_network else [NETWORK]),
        *([Column.name("cell"), Column("bits")] if is_short else [Column.name("Options"), Column("Budget")]),
        *([Column("Seed")] if has_seeds else []),
        *([] if is_short else [Column("White box")]),
        *_goal_columns(),
        Column.text("verdict", "Detrimental", is_key=True),
        *([Column("trial", "Detrimental")] if is_searched else []),
    )
    shown = SUMMARIZED[1:] if is_short else SUMMARIZED
    measured = _measured_on(table, chance)
    paper = "; in parentheses the paper's numbers" if (table["paper_verdict"] != "").any() else ""
    return text_table(
        f"Accuracy on the test split{measured} in percent, delta and gap in percentage points{paper}",
        columns,
        (
            (
                *([] if one_network else [str(row["architecture"])]),
                *(
                    (cell_name(row), str(row["budget"]))
                    if is_short
                    else (f"{row['option_set']} ({row['bit_widths']})", budget_text(row))
                ),
                *([str(row["seed"])] if has_seeds else []),
                *(_number_field(row, name, is_short=is_short) for name in shown),
                _verdict_field(row, by_uid.get(str(row["chosen_uid"]))),
                *([_trial_field(row, is_short=is_short)] if is_searched else []),
            )
            for row in table.to_dict("records")
        ),
        heading=f"Table 1{f', {networks[0]}' if one_network else ''}: test split{measured}, percent",
        caption="R robust, D detrimental; delta = quantized - FP, gap = white box - FP, in pp"
        + _white_box_text(table)
        + ("; below them one-sided 95 % bounds" if table["num_images"].notna().any() else ""),
    )


def _measured_on(table: pd.DataFrame, chance: float | None) -> str:
    """Says how many images there are, and what a guess gets right."""
    num_images = table["num_images"].dropna().unique()
    images = f"{', '.join(f'{number:,}' for number in num_images)} images" if len(num_images) else ""
    parts = [images, "" if chance is None else f"chance {pct(chance, digits=1)} %"]
    said = ", ".join(part for part in parts if part)
    return f" ({said})" if said else ""


def _white_box_text(table: pd.DataFrame) -> str:
    values = table["accuracy_white_box"].dropna()
    if values.empty:
        return ""
    ends = dict.fromkeys(pct(value) for value in (values.min(), values.max()))
    return f"; white box {' to '.join(ends)}"


def table1_summary_text(summary: pd.DataFrame) -> TextTable:
    """Lays out the means over seeds of Table 1."""
    return cell_table(
        "Means over seeds \N{PLUS-MINUS SIGN} standard deviation",
        (Column("White box"), *_goal_columns(), Column("catastrophic", "Detrimental")),
        summary,
        lambda row: (
            *(spread_field(row, name, _writer(name)) for name in SUMMARIZED),
            f"{row['num_catastrophic']} of {row['num_detrimental']}",
        ),
    )


def table1_white_boxes_text(means: pd.DataFrame) -> TextTable:
    """Lays out the means over white boxes of Table 1."""
    return text_table(
        "Means over white boxes of the means over their pairs, with Student's 95 % interval over white boxes",
        (
            NETWORK,
            Column.name("Cell"),
            *map(Column, ("Bits", "white boxes", "pairs each", "White box")),
            *_goal_columns(),
            *(Column(name, "Detrimental") for name in ("catastrophic", "shown")),
        ),
        (
            (
                str(row["architecture"]),
                cell_name(row),
                *(str(row[name]) for name in ("budget", "num_white_boxes", "num_pairs")),
                *(
                    Field(_writer(name)(row[name]), note=interval_text(row[f"{name}_low"], row[f"{name}_high"]))
                    for name in SUMMARIZED
                ),
                *(f"{row[name]} of {row['num_detrimental']}" for name in ("num_catastrophic", "num_shown")),
            )
            for row in means.to_dict("records")
        ),
    )


def _goal_columns() -> list[Column]:
    return [
        Column(_HEADERS[name], goal.capitalize(), is_key=goal is Goal.DETRIMENTAL and name == "accuracy_delta")
        for goal, names in MEASURED.items()
        for name in names
    ]


_HEADERS = {"accuracy_fp": "FP", "accuracy_delta": "delta", "parity_gap": "gap"}


def _writer(name: str) -> Writer:
    return pp if name.endswith(("delta", "gap")) else pct


def _number_field(row: Row, name: str, *, is_short: bool) -> Field:
    """Our number, its interval and the paper's number; a dash holds the place of ours while it is missing."""
    ours, paper = (_writer(name)(row[column]) for column in (name, PAPER[name]))
    ends = [-row["drop_high"], -row["drop_low"]] if name == "detrimental_accuracy_delta" else []
    ends = [row["parity_gap_low"], row["parity_gap_high"]] if name == "detrimental_parity_gap" else ends
    interval = (" to\n" if is_short else " to ").join(pp(end, digits=1) for end in ends if not is_missing(end))
    return with_note(Field(ours or "-" if paper else ours, note=interval), paper)


def _verdict_field(row: Row, verdict: CellVerdict | None) -> Field:
    word, state = str(row["verdict"]), state_text(row)
    evidence = str(row["evidence"])
    judgement = judged_cell(verdict) if verdict else judged(word, evidence)
    judgement = replace(judgement, link=f"#{row['chosen_uid']}" if word else "")
    field = with_note(judgement, state) if word else Field(state)
    return with_note(field, f"paper: {row['paper_verdict']}" if row["paper_verdict"] else "")


def _trial_field(row: Row, *, is_short: bool) -> Field:
    chosen, planned = row["chosen_trial"], row["num_trials"]
    if not isinstance(planned, int) or planned < 2 or is_missing(chosen):
        return Field("")
    return Field(f"{chosen} of {planned}") if is_short else Field(str(chosen), note=f"of {planned}")


def training_statement(curves: Mapping[str, Mapping[Goal, Curve]]) -> str:
    """Says when the detrimental pairs begin to drop by what counts as catastrophic, on validation."""
    shown = [of_goal[Goal.DETRIMENTAL] for of_goal in curves.values() if Goal.DETRIMENTAL in of_goal]
    dropped = [
        # Whatever became of parity.
        [
            epoch
            for epoch, fp, q in zip(curve.epochs, curve.accuracy_fp, curve.accuracy_q, strict=True)
            if is_catastrophic(accuracy_white_box=fp, accuracy_fp=fp, accuracy_q=q)
        ]
        for curve in shown
    ]
    first = [epochs[0] for epochs in dropped if epochs]
    if not first:
        return f"No detrimental pair ever drops by {DROP} on validation." if shown else ""
    when = f"epoch {min(first):g}" if min(first) == max(first) else f"epochs {min(first):g} to {max(first):g}"
    return f"{len(first)} of {len(shown)} detrimental pairs drop by {DROP} on validation, for the first time in {when}."


def trouble_table(plan: Plan, trials: Sequence[Trial], missing: Sequence[Missing] = ()) -> TextTable:
    """Lists what is not done and why: failed, interrupted, blocked and waiting trials, refused cells, analyses."""
    pending = [trial for trial in trials if trial.state.needs_work]
    pending.sort(key=lambda trial: list(State).index(trial.state))
    rows = [(trial.node.name, str(trial.state), trial.reason) for trial in pending]
    rows += [(refusal.cell, "refused", refusal.reason) for refusal in plan.refused]
    rows += [(each.name, "not analyzed", each.reason) for each in missing]
    what = "trial, cell or analysis" if missing else "trial or cell"
    return text_table("", (Column.name(what), Column.name("state"), Column.text("reason")), rows)


def _largest(detrimental: pd.DataFrame) -> str:
    """Names the largest drop that is more than chance."""
    beyond = drops_beyond_noise(detrimental)
    if beyond.empty:
        return "no drop is beyond noise"
    worst = beyond.sort_values("detrimental_accuracy_delta").iloc[0]
    drop, gap = (_points(value) for value in (-worst["detrimental_accuracy_delta"], worst["detrimental_parity_gap"]))
    return f"the largest drop is {drop}, at a parity gap of {gap}"


def _points(fraction: float) -> str:
    """A loss in percentage points; a gain counts as no loss."""
    return f"{100 * max(0.0, float(fraction)):.1f} pp"
