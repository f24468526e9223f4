"""Networks in a real runtime: the table of one verification, and the section of a sweep's page with all of them."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import pandas as pd

from orchestrator.plan import Node
from orchestrator.reports.document import Section
from orchestrator.reports.layout import NETWORK, Column, Field, TextTable, filled, interval_text, pct, text_table
from orchestrator.results.verifications import Verified, VerifiedTrials
from trainables.deployment.record import LARGEST_DROP, Run, Verification

TITLE, ORT = "Real runtime", "ONNX Runtime"
VERDICTS = {"neither": "no drop", "format": "catastrophic", "runtime": "partial drop"}
"""Colours of the verdicts: those of the verdicts on pairs."""
TERM = (
    "The same test images in the simulation, as an exported file in ONNX Runtime at the same bits, and in ONNX "
    "Runtime's own int8 with one image per run. A run fails where the whole 95 % interval of its drop is beyond "
    f"{100 * LARGEST_DROP:g} points. 'format': the simulation fails, and so does a run in ONNX Runtime. 'runtime': "
    "only a run in ONNX Runtime fails. 'neither': none fails there. 'differ' counts images that the exported file "
    "classifies otherwise than the simulation."
)


class MeasuredRun(Protocol):
    """What is shown of a run; fractions."""

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified right."""

    @property
    def drop(self) -> float:
        """Accuracy at full precision minus that of the run."""

    @property
    def drop_low(self) -> float:
        """Lower end of its paired 95 % interval."""

    @property
    def drop_high(self) -> float:
        """Upper end."""


def runs_table(found: Verification, architecture: str) -> TextTable:
    """Lays out the runs of one verification, one a row."""
    columns = (
        Column.name("run"),
        Column("accuracy"),
        Column("drop"),
        Column("other answers"),
        Column("largest difference"),
    )
    full = ("full precision", pct(found.accuracy_fp, digits=1), "", "", "")
    return text_table(
        "Percent of the images",
        columns,
        [full, *(_run_row(run) for run in found.runs)],
        heading=f"{architecture}: {found.num_images} images, percent",
        caption="drop in pp with its 95 % interval; other answers and differences of logits: from the simulation",
    )


def runtime_section(verified: VerifiedTrials, dataset: str) -> Section:
    """Returns the section about the trials that were verified, empty where none was.

    Args:
        verified: Of the sweep.
        dataset: Title of its data; that of a verification is named where it is another one.
    """
    table = runtime_table(verified, dataset)
    processors = [str(each.found.processor) for _, each in verified if each.found]
    return Section(
        title=TITLE,
        statement=_statement([each.verdict for _, each in verified]),
        caption=TERM if table.rows else "",
        tables=filled(table),
        points=run_on(processors),
    )


def run_on(processors: Iterable[str]) -> tuple[str, ...]:
    """Says on which processors networks ran, each once."""
    return tuple(f"Run on {each}." for each in dict.fromkeys(processors))


def runtime_table(verified: VerifiedTrials, dataset: str) -> TextTable:
    """Lays out the trials that were verified, one a row."""
    lead = (NETWORK, Column.text("pair"), Column("bits", is_detail=True))
    return table_of_runs(lead, (_trial_row(node, each, dataset) for node, each in verified))


def table_of_runs(lead: tuple[Column, ...], rows: Iterable[Iterable[Field | str]]) -> TextTable:
    """Lays out what ran in ONNX Runtime, one a row: what it was, then how many images, accuracies and verdict."""
    columns = (
        *lead,
        Column("images", is_detail=True),
        Column("FP", is_detail=True),
        Column("simulation"),
        Column("exported file", ORT),
        Column("dynamic int8", ORT),
        Column("dynamic int8", "torchao", is_optional=True, is_detail=True),
        Column.name("verdict"),
        Column("differ", is_detail=True),
        Column.text("nodes", is_optional=True, is_detail=True),
    )
    return text_table(
        "Accuracy in percent, drops in percentage points with 95 % intervals",
        columns,
        rows,
        heading=f"{TITLE}: accuracy in percent",
        caption="drops in pp with their 95 % intervals; exported file: the same bits as the simulation",
    )


def runtime_data(verified: VerifiedTrials) -> pd.DataFrame:
    """Returns the same as data: a row per trial and run, fractions."""
    return pd.DataFrame(
        [
            {"uid": node.uid, "name": node.name, "verdict": each.verdict, "num_images": each.found.num_images}
            | {"accuracy_fp": each.found.accuracy_fp, "run": run.name}
            | {name: getattr(run, name) for name in ("accuracy", "drop", "drop_low", "drop_high", "disagreements")}
            | {"largest_difference": run.largest_difference}
            for node, each in verified
            if each.found
            for run in each.found.runs
        ]
    )


def accuracy_field(run: MeasuredRun | None) -> Field:
    """Writes the accuracy of a run with its drop; nothing where there is no run."""
    if run is None:
        return Field("")
    drop = f"drop {100 * run.drop:.1f}\n{interval_text(run.drop_low, run.drop_high)}"
    return Field(pct(run.accuracy, digits=1), note=drop)


def verdict_field(verdict: str, note: str = "") -> Field:
    """Writes a verdict in its colour."""
    return Field(verdict, note=note, verdict=VERDICTS.get(verdict, ""))


def _trial_row(node: Node, each: Verified, dataset: str) -> tuple[Field | str, ...]:
    found, cell = each.found, node.cell
    name = f"{cell.option_set}-{cell.budget_level} {cell.goal}" if cell else str(node.stage)
    parts = [name, *([f"seed {cell.seed}"] if cell and cell.seed else [])]
    parts += [f"trial {node.trial_number}"] if node.trial_number else []
    bits = str(cell.recipe.budget) if cell else ""
    pair = Field(", ".join(parts), link=f"#{node.uid}")
    row: tuple[Field | str, ...] = (node.recipe.architecture, pair, bits)
    if found is None:
        return (*row, "", "", "", "", "", "", verdict_field(each.verdict, each.why_not), "", "")
    return (
        *row,
        Field(str(found.num_images), note=each.dataset if each.dataset != dataset else ""),
        pct(found.accuracy_fp, digits=1),
        *(accuracy_field(run) for run in (found.simulated, found.exported, found.int8, found.torchao)),
        verdict_field(found.verdict),
        str(found.exported.disagreements),
        ", ".join(found.culprits.nodes) if found.culprits else "",
    )


def _run_row(run: Run) -> tuple[Field | str, ...]:
    return (
        run.name,
        pct(run.accuracy, digits=1),
        Field(f"{100 * run.drop:.1f}", note=interval_text(run.drop_low, run.drop_high)),
        str(run.disagreements),
        f"{run.largest_difference:.3g}",
    )


def _statement(verdicts: Sequence[str]) -> str:
    """Counts the verdicts in one sentence."""
    if not verdicts:
        return ""
    broken = {"format": "the format breaks", "runtime": "this runtime breaks", "neither": "neither breaks"}
    counts = ", ".join(f"{words} {verdicts.count(verdict)}" for verdict, words in broken.items())
    not_run = verdicts.count("not run")
    return f"Of {len(verdicts)} networks {counts}" + (f", and {not_run} could not be run." if not_run else ".")
