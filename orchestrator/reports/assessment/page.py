"""The report of an assessment: the page, its figure, tables as CSV and Parquet, and `assessment.json`."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from orchestrator.reports.assessment.companions import companion_section
from orchestrator.reports.assessment.figure import figure_ladder
from orchestrator.reports.assessment.quantized_file import file_section
from orchestrator.reports.assessment.runtime import runtime_section
from orchestrator.reports.assessment.tables import (
    gate_table,
    measured_table,
    missing_line,
    mitigations_table,
    other_reasons,
    rungs_table,
    suspects_table,
    verdict_line,
)
from orchestrator.reports.document import Page, Section, pictures
from orchestrator.reports.drawing import file_name
from orchestrator.reports.layout import filled
from orchestrator.reports.rendering import page_files, table_files
from orchestrator.reports.summary import progress, trouble_table
from orchestrator.results.assessments import COMPANIONS, Found, read_assessments
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import Standing
from orchestrator.results.trials import read_trials
from search_spaces.stages.assessment import BATCH

ASSESSMENT = "assessment.json"
TERMS = {
    "Rung": "A way to choose the bit-widths of the activations. Static rungs choose on the validation images and are "
    "measured on the test images; rungs per image choose for every test image by itself, with its label.",
    "Budget": "Exact sum of the bit-widths over all quantized activations of one image, in bits.",
    "Drop": "Accuracy at full precision minus accuracy of the rung, in percentage points, with the paired 95 % "
    "score interval of Tango (1998).",
    "Flips": "Images that get another class than at full precision, right or wrong; low-margin ones are the tenth of "
    "which the network is least sure.",
    "Trained rungs": "With --train: a policy, which looks at every image and chooses its bits, for the network as it "
    "is, robust or detrimental; and a pair, which is the network fine-tuned together with a detrimental policy. The "
    "drop of the pair is against its own full precision, and 'parity gap' is what the fine-tuning costs there. They "
    "say what can be done with the network, and have no part in the verdict.",
    "Mitigation": "A repair of a network that fails. The worst allocations are searched again on the repaired network, "
    "so the attack knows the repair; sites that it pins are no part of the budget.",
    "Verdict": "'suspicious': built or trained to fail. 'fragile': it fails by nature. 'healthy': neither was shown.",
    "Gate": "A rule fails where the whole interval is beyond its bound, passes where none of it is, and is not shown "
    "otherwise. At several budgets the worst outcome counts.",
}
RANGES = {
    "example": "of every image",
    "batch": f"over batches of {BATCH} images, in the order of the test split",
    "channel": "of every channel of every image",
}
"""What shares a range, for people."""
_TITLES = {"sites": "Sites", "channels": "Channel scan", "links": "Links", "cures": "Repairs"}
_FILES = {"ours": "ours.yaml"} | {tool: f"{tool}.json" for tool in ("onnxruntime", "torchao", "modelopt")}
"""Columns of the mitigations that are configuration files, and the names of these."""


def assessment_files(
    snapshot: Snapshot, sweep: str, *, facts: Mapping[str, str], standing: Standing, rules: Sequence[str]
) -> dict[str, bytes]:
    """Returns the files of the report of a sweep that assesses networks, whatever has been done of it so far."""
    trials, found = read_trials(snapshot), read_assessments(snapshot, rules)
    sections = [section for each in found for section in _sections(each)]
    sections += [
        Section(title="Not done", tables=filled(trouble_table(snapshot.plan, trials))),
        Section(title="Terms", terms=TERMS),
        Section(title="Facts", terms=facts, is_literal=True),
    ]
    page = Page(
        title=f"Assessment {sweep}",
        headline=" ".join(verdict_line(each) for each in found) or "No network is assessed yet.",
        progress=progress(snapshot.plan, standing),
        is_complete=standing.is_complete,
        sections=tuple(section for section in sections if not section.is_empty),
    )
    files: dict[str, bytes] = {}
    for each in found:
        files |= table_files(_tables(each)) | mitigation_files(each)
        if each.is_complete:
            files[ASSESSMENT] = each.assessment.as_json().encode()
    return files | page_files("report", page)


def _without_files(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=list(_FILES), errors="ignore")


def mitigation_files(found: Found) -> dict[str, bytes]:
    """Returns the mitigations as configuration of this and other tools, by path."""
    rows = found.tables["cures"].to_dict("records") if "cures" in found.tables else []
    return {
        f"mitigations/{re.sub(r'[^0-9a-z]+', '-', str(row['name']).lower())}/{file}": str(row[column]).encode()
        for row in rows
        for column, file in _FILES.items()
        if isinstance(row[column], str)
    }


def _sections(found: Found) -> list[Section]:
    assessment = found.assessment
    alt = f"Accuracy of {assessment.model.architecture} on every rung and at every budget, with 95 % intervals."
    figure = pictures((file_name("ladder", assessment.model.architecture), alt, figure_ladder(assessment)))
    model = {
        "uri": assessment.model.uri,
        "sha256": assessment.model.sha256,
        "sites": f"{assessment.num_sites} {assessment.sites} of layers",
        "ranges": RANGES[assessment.range_scope],
    }
    gate = Section(title="Gate", tables=filled(gate_table(assessment)))
    mitigations = Section(title="Mitigations", tables=filled(mitigations_table(assessment)))
    laid_out = ("rungs", "classes", "cure_figures", *(() if mitigations.is_empty else ("cures",)))
    others = [
        Section(
            title=_TITLES.get(name, name),
            tables=filled(measured_table("", _without_files(table))),
        )
        for name, table in found.tables.items()
        if name not in (*laid_out, COMPANIONS)
    ]
    return [
        Section(title="More reasons", points=other_reasons(found)),
        gate,
        Section(title="Ladder", statement=missing_line(assessment), pictures=figure, tables=(rungs_table(assessment),)),
        Section(title="Suspects", tables=filled(suspects_table(assessment))),
        mitigations,
        *others,
        companion_section(found),
        runtime_section(assessment),
        file_section(found),
        Section(title="Network", terms=model, is_literal=True),
    ]


def _tables(found: Found) -> dict[str, pd.DataFrame]:
    rungs = pd.DataFrame([rung.model_dump(exclude={"class_shares"}) for rung in found.assessment.rungs])
    classes = pd.DataFrame(
        [
            {"rung": rung.rung, "budget": rung.budget, "class_name": name, "share": share}
            for rung in found.assessment.rungs
            for name, share in rung.class_shares.items()
        ]
    )
    own = {name: table for name, table in found.tables.items() if name not in ("rungs", "classes")}
    return {
        f"assessment_{name}": table.convert_dtypes() if name in ("rungs", "classes") else table
        for name, table in ({"rungs": rungs, "classes": classes} | own).items()
    }
