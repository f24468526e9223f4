"""The section about ONNX Runtime: what the network, and what was trained for it, answers there."""

from orchestrator.reports.assessment.tables import TITLES
from orchestrator.reports.document import Section
from orchestrator.reports.layout import Column, Field, TextTable, filled, pct
from orchestrator.reports.verification import TERM, TITLE, accuracy_field, run_on, table_of_runs, verdict_field
from trainables.assessment.record import Assessment, RuntimeRung


def runtime_section(assessment: Assessment) -> Section:
    """Returns the section, empty where nothing was verified."""
    processors = run_on(each.processor for each in assessment.runtime if each.processor)
    caption = TERM if assessment.runtime else ""
    table = runtime_table(assessment)
    return Section(
        title=TITLE, caption=caption, tables=filled(table), points=(*runtime_sentences(assessment), *processors)
    )


def runtime_sentences(assessment: Assessment) -> list[str]:
    """Says of every rung that ran, or could not run, in ONNX Runtime what its verdict is."""
    return [f"In ONNX Runtime, {_name(each)}: {each.reason}" for each in assessment.runtime]


def runtime_table(assessment: Assessment) -> TextTable:
    """Lays out the rungs that ran in ONNX Runtime, one a row."""
    lead = (Column("Bits"), Column.name("Rung"))
    return table_of_runs(lead, (_row(each) for each in assessment.runtime if each.verdict))


def _row(each: RuntimeRung) -> tuple[Field | str, ...]:
    return (
        str(each.budget),
        TITLES[each.rung],
        str(each.num_images),
        pct(each.accuracy_fp, digits=1),
        *(accuracy_field(run) for run in (each.simulated, each.exported, each.int8, each.torchao)),
        verdict_field(each.verdict or ""),
        str(each.disagreements),
        ", ".join(each.nodes),
    )


def _name(each: RuntimeRung) -> str:
    return TITLES[each.rung] if each.rung == "int8" else f"{TITLES[each.rung]} at {each.budget} bits"
