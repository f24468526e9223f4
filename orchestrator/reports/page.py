"""The report of a sweep: all tables as CSV and Parquet, figures, and a page in Markdown and in HTML.

`dptq-sweep report` calls `write_report` at any time, also in the middle of a sweep. Equal stores give equal
bytes: nothing here reads a clock, the caller passes the date among the facts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from orchestrator.analyses.results import SweepTables, sweep_tables
from orchestrator.reports.analyses.answers import answers_section, answers_table
from orchestrator.reports.analyses.registry import Tables, analysis_sections, derived_tables
from orchestrator.reports.assessment.page import assessment_files
from orchestrator.reports.decisions import decisions_table
from orchestrator.reports.document import Page, Section, pictures
from orchestrator.reports.figures import figure_table1, figure_training
from orchestrator.reports.grouping import CELL, cell_title, of_cell, shown_cells
from orchestrator.reports.layout import filled
from orchestrator.reports.rendering import page_files, table_files
from orchestrator.reports.search.sections import search_files, search_sections, searches_of
from orchestrator.reports.search.trials import trials_section
from orchestrator.reports.summary import (
    DEFINITIONS,
    headline,
    progress,
    table1_summary_text,
    table1_text,
    table1_white_boxes_text,
    training_statement,
    trouble_table,
)
from orchestrator.reports.table1 import (
    drops_beyond_noise,
    table1,
    table1_summary,
    table1_white_boxes,
)
from orchestrator.reports.verification import runtime_data, runtime_section
from orchestrator.results.cell_verdicts import CellVerdict, cell_verdicts
from orchestrator.results.pairs import records_of, representatives
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import Standing, standing_of
from orchestrator.results.trials import Curve, Trial, chance_level, mixed_code, read_curve, read_trials
from orchestrator.results.verifications import verified_trials
from orchestrator.store.folder import Folder, sha256
from orchestrator.store.pages import pages_of, runs_of
from orchestrator.store.sweep import Sweep
from search_spaces.names import Goal

FILES = "report_files.json"
"""Which files the last report wrote, so that the next one can remove those it no longer writes."""

_OWN_FILE = re.compile(
    r"(analyses/\w+\.(csv|parquet)|figure_[\w.-]+\.(png|svg)"
    r"|(answers|runtime|table1(_summary|_white_boxes)?|search_\w+|assessment_\w+)\.(csv|parquet)|assessment\.json|mitigations/[\w-]+/\w+\.(yaml|json))"
)


def write_report(
    snapshot: Snapshot,
    sweep: str,
    *,
    facts: Mapping[str, str],
    standing: Standing | None = None,
    analyses: SweepTables | None = None,
) -> list[str]:
    """Writes the report of a sweep into its folder, whatever has been done of it so far.

    `facts` are what else to record, e.g. versions, seeds, commands, the date, shown in this order. Without `analyses`,
    from `sweep_tables`, they are read from the store, and without `standing` the folder is asked how far the sweep is.

    Returns:
        The paths of the files written.

    Raises:
        StorageError: The folder cannot be written.
    """
    plan, folder = snapshot.plan, snapshot.store.sweep(sweep)
    standing = standing or standing_of(snapshot, folder)
    if plan.grid.assessments:
        rules = Sweep(snapshot.store, sweep).launch_options().fail_if
        return _write(folder, assessment_files(snapshot, sweep, facts=facts, standing=standing, rules=rules))
    trials = read_trials(snapshot)
    table, records, verified = table1(plan, trials), records_of(trials), verified_trials(trials)
    verdicts = cell_verdicts(trials)
    answers = answers_table(trials, [pair.uid for pair in representatives(records)])
    analyses = sweep_tables(records, snapshot, folder) if analyses is None else analyses
    searches = searches_of(plan, trials)
    derived = derived_tables(analyses.tables, records, dataset=plan.grid.dataset.name)
    trouble = trouble_table(plan, trials, analyses.missing)
    curves = _curves(trials, table)
    alt = "Validation accuracy by epoch, at full precision and quantized, for every pair of Table 1."
    sections = [
        *_table1_sections(table, trials, verdicts),
        answers_section(answers, has_drop=len(drops_beyond_noise(table)) > 0),
        runtime_section(verified, plan.grid.dataset.title),
        *_analysis_sections(analyses.tables, derived, table),
        *(search_sections(searches) if searches else []),
        Section(
            title="Training",
            statement=training_statement(curves),
            pictures=pictures(("figure_training", alt, figure_training(curves))),
        ),
        trials_section(trials, searches, storage=snapshot.store.uri, runs=runs_of(Sweep(snapshot.store, sweep))),
        Section(
            title="Decisions in force",
            caption="Where the paper is silent, allows more than one thing or contradicts itself.",
            is_folded=True,
            tables=(decisions_table(plan),),
        ),
        Section(title="Not done", tables=filled(trouble)),
        Section(title="Terms", terms=DEFINITIONS, is_folded=True),
        Section(title="Facts", terms=facts, is_literal=True),
    ]
    page = Page(
        title=f"Sweep {sweep}",
        headline=headline(table),
        progress=progress(plan, standing),
        is_complete=standing.is_complete and not plan.refused,
        sections=tuple(section for section in sections if not section.is_empty),
        pages=pages_of(Sweep(snapshot.store, sweep)),
    )
    tables = {"table1": table}
    if table["seed"].nunique() > 1:
        tables["table1_summary"] = table1_summary(table)
    if _is_nested(table):
        tables["table1_white_boxes"] = table1_white_boxes(table)
    tables |= {f"analyses/{name}": each for name, each in {**analyses.tables, **derived}.items()}
    tables |= search_files(searches) if searches else {}
    if len(answers):
        tables["answers"] = answers
    if len(runtime := runtime_data(verified)):
        tables["runtime"] = runtime
    return _write(folder, table_files(tables) | page_files("report", page))


def _write(folder: Folder, files: Mapping[str, bytes]) -> list[str]:
    """Writes a report and removes what only an earlier one had; an object store gets only what changed."""
    content = folder.read_json(FILES) or {}
    before, checksums = content.get("files", []), content.get("sha256", {})
    sizes = folder.sizes() if checksums else {}
    known = {name: (sizes.get(name), checksum) for name, checksum in checksums.items()}
    changed = [name for name, each in files.items() if known.get(name) != (len(each), sha256(each))]
    if changed or set(before) != set(files):
        # Both lists until the end: a report that is killed in between forgets no file.
        folder.write_json(FILES, {"files": sorted({*before, *files})})
        for name in changed:
            folder.write_bytes(name, files[name])
        for name in set(before) - set(files):
            if _OWN_FILE.fullmatch(name):
                folder.delete(name)
        sums = {"sha256": {name: sha256(each) for name, each in files.items()}} if folder.is_on_object_store else {}
        folder.write_json(FILES, {"files": sorted(files), **sums})
    return [f"{folder.root}/{name}" for name in files]


def _table1_sections(table: pd.DataFrame, trials: Sequence[Trial], verdicts: Sequence[CellVerdict]) -> list[Section]:
    text = table1_text(table, verdicts, chance=chance_level(trials))
    tables = [replace(text, title="", is_cards=True)]
    if _is_nested(table):
        tables.append(table1_white_boxes_text(table1_white_boxes(table)))
    elif table["seed"].nunique() > 1:
        tables.append(table1_summary_text(table1_summary(table)))
    figure = pictures(("figure_table1", headline(table), figure_table1(table)))
    return [
        Section(title="Table 1", caption=f"{text.title}. {mixed_code(trials)}".strip(), tables=tuple(tables)),
        Section(title="What quantization costs", pictures=figure),
    ]


def _is_nested(table: pd.DataFrame) -> bool:
    return table["white_box_seed"].nunique() > 1


def _analysis_sections(analyses: Tables, derived: Tables, table: pd.DataFrame) -> list[Section]:
    cells = shown_cells(table)
    has_drop = any(len(drops_beyond_noise(of_cell(table, cell))) for cell in cells)
    sections = analysis_sections(analyses, derived, cells, has_drop=has_drop)
    num_cells = len(table.drop_duplicates(list(CELL)))
    if not sections or num_cells == len(cells):
        return sections
    choice = (
        f"Figures show {len(cells)} of {num_cells} cells, per network the largest drop on validation, at parity where "
        f"a cell keeps it: {', '.join(map(cell_title, cells))}; tables and the files under analyses/ cover all."
    )
    return [Section(title="Analyses", statement=choice), *sections]


def _curves(trials: Sequence[Trial], table: pd.DataFrame) -> dict[str, dict[Goal, Curve]]:
    """Curves of the pairs that stand for their cells; trial 0 where none is chosen yet."""
    chosen = {uid for uid in table["chosen_uid"] if uid}
    by_uid = {trial.node.uid: trial for trial in trials}
    settled = {by_uid[uid].node.cell_id for uid in chosen}
    has_several, has_seeds = table["architecture"].nunique() > 1, table["seed"].nunique() > 1
    curves: dict[str, dict[Goal, Curve]] = {}
    for trial in trials:
        cell = trial.node.cell
        is_shown = trial.node.uid in chosen or (trial.node.trial_number == 0 and trial.node.cell_id not in settled)
        curve = read_curve(trial) if cell and is_shown else None
        if cell and curve:
            network = f"{cell.architecture}\n" if has_several else ""
            seed = f", seed {cell.seed}" if has_seeds else ""
            title = f"{network}{cell.option_set}-{cell.budget_level}, {cell.recipe.budget} bits{seed}"
            curves.setdefault(title, {})[cell.goal] = curve
    return curves
