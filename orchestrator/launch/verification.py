"""The end of a verification: its table on the terminal, and the file that other tools read."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.console import line_printer
from orchestrator.launch.assessments import write_file
from orchestrator.reports.layout import Column, Field, TextTable, interval_text, pct, text_table
from orchestrator.reports.terminal import render
from trainables.deployment.record import Run, Verification


def conclude(found: Verification, facts: dict[str, Any], console: Console, json_file: Path | None) -> None:
    """Prints what was found and writes --json.

    Args:
        found: What simulation and runtime answered.
        facts: What they ran.
        console: Where to print.
        json_file: None writes none.

    Raises:
        ConfigError: The file cannot be written.
    """
    say = line_printer(console)
    console.print(render(runs_table(found, str(facts["architecture"]))))
    say(found.reason)
    if found.culprits:
        say(f"With these nodes at full precision it is right in {found.culprits.accuracy:.1%} of the images:")
        layers = {each.node: each.layer for each in found.culprits.reverted}
        for node in found.culprits.nodes:
            say(f"  {node} (layer {layers[node]})" if layers[node] else f"  {node}")
    processor = found.processor
    say(f"Run on {processor.name} ({'with' if processor.has_vnni else 'without'} VNNI).")
    content = json.dumps(found.as_json() | {"of": facts}, indent=2)
    write_file(json_file, "--json", content.encode())


def runs_table(found: Verification, architecture: str) -> TextTable:
    """Lays out the runs, one a row."""
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
        [full, *(_row(run) for run in (found.simulated, found.exported, found.int8))],
        heading=f"{architecture}: {found.num_images} images, percent",
        caption="drop in pp with its 95 % interval; other answers and differences of logits: from the simulation",
    )


def _row(run: Run) -> tuple[Field | str, ...]:
    return (
        run.name,
        pct(run.accuracy, digits=1),
        Field(f"{100 * run.drop:.1f}", note=interval_text(run.drop_low, run.drop_high)),
        str(run.disagreements),
        f"{run.largest_difference:.3g}",
    )
