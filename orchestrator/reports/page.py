"""The report of a sweep: all tables as CSV and Parquet, figures, and a page in Markdown and in HTML.

`dptq-sweep report` calls `write_report` at any time, also in the middle of a sweep. Equal stores give equal
bytes: nothing here reads a clock, the caller passes the date among the facts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from orchestrator.analyses.results import SweepTables, sweep_tables
from orchestrator.plan import Plan
from orchestrator.reports.analyses.corruptions import corruption_curves, corruption_section, corruption_summary
from orchestrator.reports.analyses.cross_policy import cross_policy_section, table3
from orchestrator.reports.analyses.histograms import collapse_correlations, histogram_section, histogram_summary
from orchestrator.reports.analyses.indicators import indicator_correlations, indicator_section
from orchestrator.reports.analyses.layers import layer_effects, layer_section, worst_sites
from orchestrator.reports.analyses.mitigation import mitigation_section, mitigation_summary
from orchestrator.reports.analyses.transitory import overlaps, table2, transitory_section, worst_points
from orchestrator.reports.decisions import decisions_table
from orchestrator.reports.document import Page, Section, pictures
from orchestrator.reports.figures import figure_table1, figure_training
from orchestrator.reports.grouping import Row, cell_title, shown_cells
from orchestrator.reports.rendering import page_files, table_files
from orchestrator.reports.search.sections import search_files, search_sections, searches_of
from orchestrator.reports.summary import (
    DEFINITIONS,
    headline,
    progress,
    table1_summary_text,
    table1_text,
    training_statement,
    trouble_table,
)
from orchestrator.reports.table1 import table1, table1_summary
from orchestrator.results.pairs import PairRecord, records_of
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import Curve, Trial, read_curve, read_trials
from orchestrator.store.folder import Folder, sha256
from search_spaces.recipes import Goal

FILES = "report_files.json"
"""Which files the last report wrote, so that the next one can remove those it no longer writes."""

Tables = Mapping[str, pd.DataFrame]
_OWN_FILE = re.compile(
    r"(analyses/\w+\.(csv|parquet)|figure_[\w.-]+\.(png|svg)|(table1(_summary)?|search_\w+)\.(csv|parquet))"
)


def write_report(
    snapshot: Snapshot, sweep: str, *, facts: Mapping[str, str], analyses: SweepTables | None = None
) -> list[str]:
    """Writes the report of a sweep into its folder, whatever has been done of it so far.

    Args:
        snapshot: Of the sweep.
        sweep: Its name.
        facts: What else to record, e.g. versions, seeds, commands, the date; shown in this order.
        analyses: From `sweep_tables`; None reads them from the store.

    Returns:
        The paths of the files written.

    Raises:
        StorageError: The folder cannot be written.
    """
    plan, folder, trials = snapshot.plan, snapshot.store.sweep(sweep), read_trials(snapshot)
    table, records = table1(plan, trials), records_of(trials)
    analyses = sweep_tables(records, snapshot, folder) if analyses is None else analyses
    searches = searches_of(plan, trials)
    derived = derived_tables(analyses.tables, records, dataset=plan.grid.dataset.name)
    trouble = trouble_table(plan, trials, analyses.missing)
    sections = [
        *_table1_sections(table),
        *_analysis_sections(analyses.tables, derived, table),
        *(search_sections(searches) if searches else []),
        *_trial_sections(plan, _curves(trials, table)),
        Section(title="Not done", tables=(trouble,) if trouble.rows else ()),
        Section(title="Terms", terms=DEFINITIONS),
        Section(title="Facts", terms=facts, is_literal=True),
    ]
    page = Page(
        title=f"Sweep {sweep}",
        headline=headline(table),
        progress=progress(plan, trials),
        is_complete=not trouble_table(plan, trials).rows,
        sections=tuple(section for section in sections if not section.is_empty),
    )
    files = table_files("table1", table)
    if table["seed"].nunique() > 1:
        files |= table_files("table1_summary", table1_summary(table))
    for name, each in {**analyses.tables, **derived}.items():
        files |= table_files(f"analyses/{name}", each)
    for name, each in (search_files(searches) if searches else {}).items():
        files |= table_files(name, each)
    return _write(folder, files | page_files("report", page))


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


def _table1_sections(table: pd.DataFrame) -> list[Section]:
    text = table1_text(table)
    tables = [replace(text, title="")]
    if table["seed"].nunique() > 1:
        tables.append(table1_summary_text(table1_summary(table)))
    alt = headline(table)
    return [
        Section(title="Table 1", caption=f"{text.title}.", tables=tuple(tables)),
        Section(title="What quantization costs", pictures=pictures(("figure_table1", alt, figure_table1(table)))),
    ]


def _analysis_sections(analyses: Tables, derived: Tables, table: pd.DataFrame) -> list[Section]:
    cells = shown_cells(table)
    sections = analysis_sections(analyses, derived, cells)
    num_cells = len(table.drop_duplicates(["architecture", "option_set", "budget"]))
    if not sections or num_cells == len(cells):
        return sections
    return [Section(title="Analyses", statement=_choice_statement(cells, num_cells)), *sections]


def _choice_statement(cells: Sequence[Row], num_cells: int) -> str:
    names = ", ".join(cell_title(cell) for cell in cells)
    return (
        f"Figures show {len(cells)} of {num_cells} cells, per network the largest drop, at parity where a cell keeps "
        f"it: {names}; tables and the files under analyses/ cover all."
    )


def _trial_sections(plan: Plan, curves: Mapping[str, Mapping[Goal, Curve]]) -> list[Section]:
    """What training and the recipes have to say."""
    return [
        Section(
            title="Training",
            statement=training_statement(curves),
            pictures=pictures(
                (
                    "figure_training",
                    "Validation accuracy by epoch, at full precision and quantized, for every pair of Table 1.",
                    figure_training(curves),
                ),
            ),
        ),
        Section(
            title="Decisions in force",
            caption="Where the paper is silent, allows more than one thing or contradicts itself.",
            tables=(decisions_table(plan),),
        ),
    ]


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


def derived_tables(analyses: Tables, records: Sequence[PairRecord], *, dataset: str) -> dict[str, pd.DataFrame]:
    """Computes everything that follows from the analyses that are done.

    Args:
        analyses: From `read_tables`.
        records: The pairs that are done.
        dataset: What the sweep trains on.

    Returns:
        By name, which is also the name of its file.
    """
    derived: dict[str, pd.DataFrame] = {}
    if (transitory := analyses.get("transitory")) is not None:
        derived["table2"] = table2(transitory, dataset=dataset)
        derived["transitory_points"] = worst_points(transitory)
        derived["transitory_overlaps"] = overlaps(transitory)
    if (cross_policy := analyses.get("cross_policy")) is not None:
        derived["table3"] = table3(cross_policy, dataset=dataset)
    if (layers := analyses.get("layers")) is not None:
        derived["layer_effects"] = layer_effects(layers)
        derived["layer_inflections"] = worst_sites(derived["layer_effects"])
    if (histograms := analyses.get("histograms")) is not None:
        derived["histogram_summary"] = histogram_summary(histograms, derived.get("layer_effects"))
        derived["collapse_correlations"] = collapse_correlations(derived["histogram_summary"])
    if (corruptions := analyses.get("corruptions")) is not None:
        derived["corruption_summary"] = corruption_summary(corruptions)
        derived["corruption_curves"] = corruption_curves(corruptions)
    if (mitigation := analyses.get("mitigation")) is not None:
        derived["mitigation_summary"] = mitigation_summary(mitigation)
    if (indicators := analyses.get("indicators")) is not None:
        derived["indicator_correlations"] = indicator_correlations(indicators, records)
    return derived


def analysis_sections(analyses: Tables, derived: Tables, cells: Sequence[Row]) -> list[Section]:
    """Writes the sections of the analyses that are done, in the paper's order.

    Args:
        analyses: From `read_tables`.
        derived: From `derived_tables`.
        cells: The cells that figures show, from `shown_cells`.
    """
    sections = []
    if "table2" in derived:
        sections.append(transitory_section(analyses["transitory"], derived, cells))
    if "table3" in derived:
        sections.append(cross_policy_section(derived["table3"], cells))
    if "layer_effects" in derived:
        sections.append(layer_section(derived["layer_effects"], cells))
    if "histogram_summary" in derived:
        summary, found = derived["histogram_summary"], derived["collapse_correlations"]
        sections.append(histogram_section(analyses["histograms"], summary, found, cells))
    if "corruption_summary" in derived:
        sections.append(corruption_section(derived["corruption_summary"], derived["corruption_curves"], cells))
    if "mitigation_summary" in derived:
        sections.append(mitigation_section(derived["mitigation_summary"], cells))
    if "indicator_correlations" in derived:
        sections.append(indicator_section(derived["indicator_correlations"]))
    return sections
