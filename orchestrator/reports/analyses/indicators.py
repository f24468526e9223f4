"""Which full-precision signals go along with the drop: table, section and figure of `indicators`."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.analyses.results import PAIR_COLUMNS
from orchestrator.reports.analyses.registry import AnalysisReport, Tables
from orchestrator.reports.document import Section, pictures
from orchestrator.reports.drawing import COLORS, INK, MUTED, file_name, panels, style, with_legend
from orchestrator.reports.grouping import Row, first_row
from orchestrator.reports.layout import Column, TextTable, number, text_table
from orchestrator.results.pairs import PairRecord
from orchestrator.results.statistics import correlations_over
from search_spaces.names import Goal

LIMIT = (
    "Signals of its answers cannot tell every network that fails: margins, and the losses to corruptions of Figure 4. "
    "Where channels are rescaled by powers of two, full-precision answers stay the same to the last bit, on corrupted "
    "images too. Signals of activations and weights are not bound by this."
)
"""Which indicators of the paper cannot work, and why."""
GROUPS = (Goal.DETRIMENTAL, Goal.ROBUST)
FALSE_DISCOVERIES = 0.05
"""Largest expected share of chance findings among the signals that a report calls more than chance."""


def indicator_correlations(indicators: pd.DataFrame, records: Sequence[PairRecord]) -> pd.DataFrame:
    """Correlates every signal with the drop on the test split, over the pairs of either goal by themselves.

    Pairs of both goals together would correlate with whatever tells the goals apart.

    Returns:
        By group (`detrimental`, `robust`), a row per signal as `correlations_over` gives it, the strongest first.
    """
    drops = {record.uid: -record.accuracy_delta for record in records}
    white_boxes = {record.uid: f"{record.architecture}/{record.white_box_seed}" for record in records}
    table = indicators.set_index("pair_uid")
    parts = []
    for group in GROUPS:
        rows = table[table["goal"] == group]
        signals = rows.drop(columns=list(PAIR_COLUMNS), errors="ignore").select_dtypes("number")
        found = correlations_over(
            signals,
            pd.Series(drops, dtype="float64").reindex(rows.index),
            pd.Series(white_boxes, dtype="str").reindex(rows.index),
        )
        # Rounded, so that the last bit decides on no order: equal ones stay as they were.
        strongest = found["spearman"].abs().round(12).sort_values(ascending=False, kind="stable").index
        parts.append(found.loc[strongest])
        parts[-1].insert(0, "group", str(group))
    return pd.concat(parts, ignore_index=True)


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of the indicators, which is about all cells."""
    found = tables["indicator_correlations"]
    group = main_group(found)
    alt = "Spearman correlation of full-precision signals with the drop, with intervals."
    return Section(
        title="Indicators",
        statement=indicator_statement(group),
        caption="Signals of the full-precision network on the validation split, over the trials of this sweep. One "
        f"counts as more than chance at a false discovery rate below 5 % among the signals of its group. {LIMIT}",
        pictures=pictures((file_name("indicators"), alt, figure_indicators(group))),
        tables=(_indicator_text(found),),
    )


def main_group(found: pd.DataFrame) -> pd.DataFrame:
    """Returns the correlations over detrimental pairs where there are any, otherwise those over robust ones."""
    detrimental, robust = (found[found["group"] == group] for group in GROUPS)
    return detrimental if detrimental["spearman"].notna().any() or robust["spearman"].isna().all() else robust


def indicator_statement(group: pd.DataFrame) -> str:
    """Names the signal that goes along with the drop most closely."""
    known = group.dropna(subset=["spearman"])
    if known.empty:
        return f"No signal can be compared with the drop: {group['reason'].iloc[0]}." if len(group) else ""
    best = first_row(known)
    pairs = f"{best['group']} pairs of {best['num_white_boxes']} white box{'es' * (best['num_white_boxes'] > 1)}"
    doubt = "" if best["q_value"] < FALSE_DISCOVERIES else f", no more than chance among {len(known)} signals"
    return (
        f"Over {best['num_trials']} {pairs} {str(best['signal']).replace('_', ' ')} goes along with the drop most "
        f"closely: {best['spearman']:.2f} (95 % interval {best['low']:.2f} to {best['high']:.2f}{doubt})."
    )


def _indicator_text(found: pd.DataFrame) -> TextTable:
    columns = (
        Column.name("pairs"),
        Column.name("signal"),
        *map(Column, ("Spearman", "low", "high", "trials", "white boxes", "p", "q")),
        Column.text("why none", is_optional=True),
    )
    rows = (
        (
            str(row["group"]),
            str(row["signal"]).replace("_", " "),
            *(number(2)(row[name]) for name in ("spearman", "low", "high")),
            *(str(row[name]) for name in ("num_trials", "num_white_boxes")),
            *(number(3)(row[name]) for name in ("p_value", "q_value")),
            str(row["reason"]),
        )
        for row in found.to_dict("records")
    )
    title = (
        "Spearman correlation with the drop on the test split, within white boxes, with its 95 % interval: over white "
        "boxes (Student), of a single one by bootstrap over its trials; q: p corrected for the number of signals "
        "(Benjamini-Hochberg)"
    )
    return text_table(title, columns, rows)


@style()
def figure_indicators(found: pd.DataFrame) -> Figure | None:
    """Draws the correlation of every signal of a group with the drop, with its 95 % interval, strongest first."""
    known = found.dropna(subset=["spearman"])
    if known.empty:
        return None
    title = "Full-precision signals against the drop under quantization"
    subtitle = f"{known['group'].iloc[0]} pairs, {known['num_trials'].max()} trials"
    figure, (panel,) = panels([subtitle], panel_height=0.5 + 0.27 * len(known), title=title)
    for place, row in enumerate(known.to_dict("records")):
        is_clear = row["q_value"] < FALSE_DISCOVERIES
        color = COLORS[Goal.DETRIMENTAL] if is_clear else MUTED
        panel.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2)
        panel.plot(row["spearman"], place, "s" if is_clear else "o", color=color, markersize=6)
    panel.axvline(0, color=INK, linewidth=1)
    panel.set_yticks(range(len(known)), [name.replace("_", " ") for name in known["signal"]])
    panel.set(ylim=(len(known) - 0.5, -0.5), xlim=(-1.05, 1.05))
    panel.set_xlabel("Spearman correlation with the drop, 95 % interval")
    panel.grid(visible=False, axis="y")
    clear = Line2D([], [], color=COLORS[Goal.DETRIMENTAL], marker="s", label="more than chance")
    return with_legend(figure, [clear, Line2D([], [], color=MUTED, marker="o", label="not told from chance")])


REPORT = AnalysisReport(
    derive=lambda findings: {
        "indicator_correlations": indicator_correlations(findings.tables["indicators"], findings.records)
    },
    section=section,
    explains_drop=False,
)
