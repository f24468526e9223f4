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
from orchestrator.results.statistics import correlations
from search_spaces.names import Goal

_CAPTION = "Signals of the full-precision network on the validation split, over the trials of this sweep."
LIMIT = (
    "Signals of its answers cannot tell every network that fails: margins, and the losses to corruptions of Figure 4. "
    "Where channels are rescaled by powers of two, full-precision answers stay the same to the last bit, on corrupted "
    "images too. Signals of activations and weights are not bound by this."
)
"""Which indicators of the paper cannot work, and why."""


def indicator_correlations(indicators: pd.DataFrame, records: Sequence[PairRecord]) -> pd.DataFrame:
    """Correlates every signal with the drop on the test split, over the detrimental pairs of a sweep, and over all.

    Returns:
        By group (`detrimental`, `all`), a row per signal as `correlations` gives it, the strongest first.
    """
    drops = {record.uid: -record.accuracy_delta for record in records}
    table = indicators.set_index("pair_uid")
    parts = []
    for group, rows in (("detrimental", table[table["goal"] == "detrimental"]), ("all", table)):
        signals = rows.drop(columns=list(PAIR_COLUMNS), errors="ignore").select_dtypes("number")
        found = correlations(signals, pd.Series(drops, dtype="float64").reindex(rows.index))
        # Rounded, so that the last bit decides on no order: equal ones stay as they were.
        strongest = found["spearman"].abs().round(12).sort_values(ascending=False, kind="stable").index
        parts.append(found.loc[strongest])
        parts[-1].insert(0, "group", group)
    return pd.concat(parts, ignore_index=True)


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of the indicators, which is about all cells."""
    found = tables["indicator_correlations"]
    group = main_group(found)
    alt = "Spearman correlation of full-precision signals with the drop, with intervals."
    return Section(
        title="Indicators",
        statement=indicator_statement(group),
        caption=f"{_CAPTION} {LIMIT}",
        pictures=pictures((file_name("indicators"), alt, figure_indicators(group))),
        tables=(_indicator_text(found),),
    )


def main_group(found: pd.DataFrame) -> pd.DataFrame:
    """Returns the correlations over detrimental pairs where there are any, otherwise those over all pairs.

    Over all pairs a signal that merely tells the goals apart correlates too.
    """
    detrimental = found[found["group"] == "detrimental"]
    return detrimental if detrimental["spearman"].notna().any() else found[found["group"] == "all"]


def indicator_statement(group: pd.DataFrame) -> str:
    """Names the signal that goes along with the drop most closely."""
    known = group.dropna(subset=["spearman"])
    if known.empty:
        return f"No signal can be compared with the drop: {group['reason'].iloc[0]}." if len(group) else ""
    best = first_row(known)
    pairs = "detrimental pairs" if best["group"] == "detrimental" else "pairs of both goals"
    doubt = ", too wide to tell a direction" if best["low"] <= 0 <= best["high"] else ""
    return (
        f"Over {best['num_trials']} {pairs} {str(best['signal']).replace('_', ' ')} goes along with the drop most "
        f"closely: {best['spearman']:.2f} (95 % interval {best['low']:.2f} to {best['high']:.2f}{doubt})."
    )


def _indicator_text(found: pd.DataFrame) -> TextTable:
    columns = (
        Column.name("pairs"),
        Column.name("signal"),
        *map(Column, ("Spearman", "low", "high", "trials")),
        Column.text("why none", is_optional=True),
    )
    rows = (
        (
            str(row["group"]),
            str(row["signal"]).replace("_", " "),
            *(number(2)(row[name]) for name in ("spearman", "low", "high")),
            str(row["num_trials"]),
            str(row["reason"]),
        )
        for row in found.to_dict("records")
    )
    title = "Spearman correlation with the drop on the test split, 95 % interval by bootstrap over trials"
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
        is_clear = row["low"] > 0 or row["high"] < 0
        color = COLORS[Goal.DETRIMENTAL] if is_clear else MUTED
        panel.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2)
        panel.plot(row["spearman"], place, "s" if is_clear else "o", color=color, markersize=6)
    panel.axvline(0, color=INK, linewidth=1)
    panel.set_yticks(range(len(known)), [name.replace("_", " ") for name in known["signal"]])
    panel.set(ylim=(len(known) - 0.5, -0.5), xlim=(-1.05, 1.05))
    panel.set_xlabel("Spearman correlation with the drop, 95 % interval")
    panel.grid(visible=False, axis="y")
    clear = Line2D([], [], color=COLORS[Goal.DETRIMENTAL], marker="s", label="interval without 0")
    return with_legend(figure, [clear, Line2D([], [], color=MUTED, marker="o", label="interval with 0")])


REPORT = AnalysisReport(
    derive=lambda findings: {
        "indicator_correlations": indicator_correlations(findings.tables["indicators"], findings.records)
    },
    section=section,
)
