"""Tables and sentences of an assessment, before they become a page or stand in a terminal."""

import pandas as pd

from orchestrator.reports.layout import Column, Field, TextTable, interval_text, number_text, pct, pp, text_table
from orchestrator.results.assessments import Found
from trainables.assessment.record import Assessment, MitigatedRung, Mitigation, Rung

TITLES = {
    "fp": "full precision",
    "int8": "8 bits everywhere",
    "file": "quantized file",
    "uniform": "uniform",
    "random": "random",
    "best_static": "best static",
    "worst_static": "worst static",
    "worst_random_per_image": "worst random per image",
    "worst_per_image": "worst per image",
    "policy_robust": "robust policy",
    "policy_detrimental": "detrimental policy",
    "pair": "fine-tuned pair",
}
"""Names of the rungs for people."""
OUTCOME_VERDICTS = {"pass": "no drop", "fail": "catastrophic", "not shown": "partial drop"}
"""Colours of outcomes: those of the verdicts on pairs."""


def rungs_table(assessment: Assessment) -> TextTable:
    """Lays out the ladder, a row per rung and budget."""
    right = "agreement" if assessment.labels == "none" else "accuracy"
    columns = (
        Column("Bits"),
        Column.name("Rung"),
        Column(right),
        Column("drop"),
        Column("parity gap", is_optional=True),
        Column("flips"),
        Column("low-margin flips", is_detail=True),
        Column.name("worst class", is_detail=True),
        Column("passes", is_detail=True),
    )
    return text_table(
        "Percent of the test images; drops in percentage points with 95 % intervals",
        columns,
        (_rung_row(rung) for rung in assessment.rungs),
        heading=f"{assessment.model.architecture}: {assessment.num_images} test images, percent",
        caption="drop = full precision - rung, in pp, with its 95 % interval; flips = images that change class",
    )


def gate_table(assessment: Assessment) -> TextTable:
    """Lays out the rules and what became of them."""
    rows = [
        (each.rule, Field(each.outcome, verdict=OUTCOME_VERDICTS[each.outcome]), each.reason)
        for each in assessment.gate
    ]
    columns = (Column.name("fails if"), Column.name("outcome"), Column.text("measured"))
    return text_table("", columns, rows, heading="Gate")


def suspects_table(assessment: Assessment) -> TextTable:
    """Lays out the channels that no training would have made."""
    rows = [(each.site, str(each.channel), number_text(each.ratio), each.link) for each in assessment.suspects]
    columns = (Column.name("site"), Column("channel"), Column("ratio"), Column.text("link"))
    return text_table("", columns, rows, heading="Suspects")


def mitigations_table(assessment: Assessment) -> TextTable:
    """Lays out what repairs the network: the drop of every rung before and after, searched again after."""
    columns = (
        Column.name("mitigation"),
        Column("bits"),
        Column("full precision", is_detail=True),
        *(Column(TITLES[rung.rung]) for rung in (assessment.mitigations[0].rungs if assessment.mitigations else ())),
    )
    return text_table(
        "Drop before and after in percentage points, after with its 95 % interval",
        columns,
        (_mitigation_row(each) for each in assessment.mitigations),
        heading="Mitigations: drop before and after, in pp",
        caption="worst allocations are searched again: the attack knows the mitigation; bits = of the sites left free",
    )


def _mitigation_row(mitigation: Mitigation) -> tuple[Field | str, ...]:
    drops = (_change(rung) for rung in mitigation.rungs)
    return mitigation.name, str(mitigation.rungs[0].budget), pct(mitigation.full_precision, digits=1), *drops


def _change(rung: MitigatedRung) -> Field:
    # The page draws hyphens of numbers as minus signs, so that an arrow cannot be made of one.
    text = f"{100 * rung.drop_before:.1f} \N{RIGHTWARDS ARROW} {100 * rung.drop:.1f}"
    return Field(text, note=interval_text(rung.drop_low, rung.drop_high))


def measured_table(title: str, table: pd.DataFrame) -> TextTable:
    """Lays out a table that a part measured, as it is."""
    headers = {name: str(name).replace("_", " ") for name in table}
    columns = [
        Column(header) if pd.api.types.is_numeric_dtype(table[name]) else Column.text(header)
        for name, header in headers.items()
    ]
    return text_table(title, columns, ([_text(value) for value in row] for row in table.itertuples(index=False)))


def verdict_line(found: Found) -> str:
    """Says in one sentence what the verdict is, with the first reason."""
    assessment = found.assessment
    if not found.is_complete:
        return f"{assessment.model.architecture}: {found.num_done} of {found.num_parts} parts are done, no verdict yet."
    reason = assessment.reasons[0] if assessment.reasons else _worst_sentence(assessment)
    return f"{assessment.model.architecture} is {assessment.verdict}: {reason}"


def other_reasons(found: Found) -> tuple[str, ...]:
    """Lists the reasons behind the first one; none without a verdict."""
    return found.assessment.reasons[1:] if found.is_complete else ()


def missing_line(assessment: Assessment) -> str:
    """Names the rungs that are not there, and why; empty where none is missing."""
    missing = (f"{TITLES[each.rung]} at {each.budget} bits ({each.reason})" for each in assessment.missing)
    return f"Not trained: {'; '.join(missing)}." if assessment.missing else ""


def _worst_sentence(assessment: Assessment) -> str:
    rungs = [rung for rung in assessment.rungs if rung.rung != "fp"]
    worst = max(rungs, key=lambda rung: rung.drop)
    place = f" at {worst.budget} bits" if worst.rung not in ("int8", "file") else ""
    interval = interval_text(worst.drop_low, worst.drop_high)
    return f"at worst it loses {pp(worst.drop, digits=1)} pp ({interval}), on the rung {TITLES[worst.rung]}{place}."


def _rung_row(rung: Rung) -> tuple[Field | str, ...]:
    is_full = rung.rung == "fp"
    worst = f"worst of {rung.draws} {pct(rung.worst_draw_accuracy, digits=1)}" if rung.draws > 1 else ""
    return (
        "" if rung.budget is None else str(rung.budget),
        TITLES[rung.rung],
        Field(pct(rung.accuracy, digits=1), note=worst),
        "" if is_full else Field(f"{100 * rung.drop:.1f}", note=interval_text(rung.drop_low, rung.drop_high)),
        "" if rung.parity_gap is None else f"{100 * rung.parity_gap:.1f}",
        "" if is_full else pct(rung.flips, digits=1),
        "" if is_full else pct(rung.flips_low_margin, digits=1),
        "" if is_full else Field(rung.worst_class, note=f"loses {100 * rung.worst_class_drop:.1f}"),
        f"{rung.passes_per_image:.0f}" if rung.passes_per_image else "",
    )


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else number_text(value)
    return "" if value is None else str(value)
