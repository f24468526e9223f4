"""Which full-precision signals go along with the drop: table, section and figure of `indicators`."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.analyses.results import PAIR_COLUMNS
from orchestrator.reports.analyses.registry import AnalysisReport, Tables
from orchestrator.reports.document import Section, pictures
from orchestrator.reports.drawing import COLORS, INK, MUTED, file_name, legend, panels, style
from orchestrator.reports.grouping import Row, first_row
from orchestrator.reports.layout import Column, TextTable, number, text_table
from orchestrator.results.pairs import PairRecord
from orchestrator.results.statistics import correlations
from search_spaces.names import Goal


def indicator_correlations(indicators: pd.DataFrame, records: Sequence[PairRecord]) -> pd.DataFrame:
    """Correlates every signal with the drop on the test split, over the detrimental pairs of a sweep, and over all.

    Args:
        indicators: The table of the analysis, a row per finished pair.
        records: The pairs, for their drops.

    Returns:
        By group (`detrimental`, `all`), a row per signal as `correlations` gives it, the strongest first.
    """
    drops = {record.uid: -record.accuracy_delta for record in records}
    table = indicators.set_index("pair_uid")
    signals = table.drop(columns=[name for name in PAIR_COLUMNS if name in table]).select_dtypes("number")
    by_uid = pd.Series(drops, dtype="float64").reindex(table.index)
    parts = []
    for group, is_in in (("detrimental", table["goal"] == "detrimental"), ("all", pd.Series(True, index=table.index))):
        found = correlations(signals[is_in], by_uid[is_in])
        # Rounded, so that the last bit decides on no order: equal ones stay as they were.
        size = found["spearman"].abs().round(12)
        strongest = size.sort_values(ascending=False, kind="stable", na_position="last").index
        parts.append(found.loc[strongest].assign(group=group))
    both = pd.concat(parts, ignore_index=True)
    return both[["group", *(name for name in both.columns if name != "group")]]


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of the indicators, which is about all cells."""
    found = tables["indicator_correlations"]
    group = main_group(found)
    alt = "Spearman correlation of full-precision signals with the drop, with intervals."
    return Section(
        title="Indicators",
        statement=indicator_statement(group),
        caption="Signals of the full-precision network on the validation split, over the trials of this sweep.",
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
    is_unclear = best["low"] <= 0 <= best["high"]
    doubt = ", too wide to tell a direction" if is_unclear else ""
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


def figure_indicators(found: pd.DataFrame) -> Figure | None:
    """Draws the correlation of every signal of a group with the drop, with its 95 % interval, strongest first."""
    known = found.dropna(subset=["spearman"])
    if known.empty:
        return None
    num_trials = int(known["num_trials"].max())
    with style():
        title = "Full-precision signals against the drop under quantization"
        subtitle = f"{known['group'].iloc[0]} pairs, {num_trials} trials"
        figure, (panel,) = panels([subtitle], panel_height=0.5 + 0.27 * len(known), title=title)
        for place, row in enumerate(known.to_dict("records")):
            is_clear = row["low"] > 0 or row["high"] < 0
            color = COLORS[Goal.DETRIMENTAL] if is_clear else MUTED
            panel.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2)
            panel.plot(row["spearman"], place, "s" if is_clear else "o", color=color, markersize=6)
        panel.axvline(0, color=INK, linewidth=1)
        panel.set_yticks(range(len(known)), [name.replace("_", " ") for name in known["signal"]])
        panel.set_ylim(len(known) - 0.5, -0.5)
        panel.set_xlim(-1.05, 1.05)
        panel.set_xlabel("Spearman correlation with the drop, 95 % interval")
        panel.grid(visible=False, axis="y")
        legend(
            figure,
            [
                Line2D([], [], color=COLORS[Goal.DETRIMENTAL], marker="s", label="interval without 0"),
                Line2D([], [], color=MUTED, marker="o", label="interval with 0"),
            ],
        )
    return figure


REPORT = AnalysisReport(
    derive=lambda findings: {
        "indicator_correlations": indicator_correlations(findings.tables["indicators"], findings.records)
    },
    section=section,
)
