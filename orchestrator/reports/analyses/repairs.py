"""What repairs leave of a pair: table, section and figure of the analysis `repairs`."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.reports.analyses.registry import AnalysisReport, Findings, Tables
from orchestrator.reports.analyses.repair_matrix import figure_matrix, has_attackers, matrix_text, over_white_boxes
from orchestrator.reports.document import Section, pictures
from orchestrator.reports.drawing import COLORS, MARKERS, file_name, goal_handles, panels, style, with_legend
from orchestrator.reports.grouping import CELL, PAIR, Row, is_missing, of_cell, of_cells, over_seeds, title_of
from orchestrator.reports.layout import Column, Field, TextTable, cell_table, interval_text, number, pct, spread_field
from search_spaces.names import Goal

_NAMES = {
    "plain": "nothing",
    "channel_ranges": "ranges per channel",
    "quantile_ranges": "ranges to the {value:g} quantile",
    "equalization": "equalization",
    "data_equalization": "equalization by data",
    "spared_sites": "{value:g} worst sites at full precision",
    "least_bits": "at least {value:g} bits per site",
}
_WORST_SITE = "worst site at full precision"
_OF_REPAIR = ("accuracy_white_box", "accuracy_fp", "parity_gap", "gap_low", "gap_high", "mean_bits")
_OF_ALLOCATION = ("accuracy_q", "drop", "drop_low", "drop_high")
_KEYS = ("trained_against", "repair", "value")


def repair_matrix(repairs: pd.DataFrame) -> pd.DataFrame:
    """Lays the matrix {trained against} x {evaluated with} out.

    Returns:
        A row per pair (pair_uid) and repair: trained_against, repair, value, evaluated_with (for people),
        accuracy_white_box, accuracy_fp, parity_gap with gap_low and gap_high, mean_bits, and of the policy's bits and
        of uniform ones accuracy_q, drop, drop_low, drop_high, the latter with `uniform_` before them. Fractions.
    """
    own, uniform = (repairs[repairs["allocation"] == name] for name in ("policy", "uniform"))
    keys = [*PAIR, "pair_uid", *_KEYS]
    names = [_name(row) for row in own.to_dict("records")]
    left = own[[*keys, *_OF_REPAIR, *_OF_ALLOCATION]].assign(evaluated_with=names)
    right = uniform[[*keys, *_OF_ALLOCATION]].rename(columns={name: f"uniform_{name}" for name in _OF_ALLOCATION})
    return left.merge(right, how="left", on=keys)


def _name(row: Row) -> str:
    repair, value = str(row["repair"]), row["value"]
    return _WORST_SITE if repair == "spared_sites" and value == 1 else _NAMES[repair].format(value=value)


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of the repairs, with a figure of the given cells."""
    matrix = tables["repair_matrix"]
    means = tables["repair_white_boxes"]
    several = has_attackers(means)
    alt = "Drop of both pairs under each repair, with intervals."
    alt_matrix = "Drop and parity gap of every attacker's pairs under every repair, means over white boxes."
    return Section(
        title="Repairs",
        statement=repairs_statement(matrix, cells),
        caption="A repair holds where pairs that were trained against it do not drop under it. Gap and drop in "
        "percentage points with paired 95 % intervals on the test images; uniform: the budget spread evenly. Means "
        "over white boxes have Student's interval over them.",
        pictures=pictures(
            (file_name("repair_matrix"), alt_matrix, figure_matrix(means) if several else None),
            (file_name("repairs"), alt, figure_repairs(matrix, cells)),
        ),
        tables=(*([matrix_text(means)] if several else []), repairs_text(matrix)),
    )


def repairs_statement(matrix: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Says what is left of the detrimental network's drop under the repair that leaves least."""
    shown = of_cells(matrix, cells) if cells else matrix
    shown = shown[shown["goal"] == Goal.DETRIMENTAL]
    means = over_seeds(shown, ["trained_against", "evaluated_with"], ("drop",))
    parts = []
    for trained_against, rows in means.groupby("trained_against", sort=False):
        plain = rows[rows["evaluated_with"] == _NAMES["plain"]]["drop"]
        best = rows.sort_values("drop", kind="stable").iloc[0]
        before = f" in place of {pct(plain.iloc[0], digits=1)}" if len(plain) else ""
        parts.append(
            f"trained against {trained_against}, least is left by {best['evaluated_with']}: "
            f"{pct(best['drop'], digits=1)} pp{before}"
        )
    return f"Of the detrimental drop, {'; '.join(parts)}." if parts else ""


def repairs_text(matrix: pd.DataFrame) -> TextTable:
    """Lays the repairs of every pair out."""
    keys = [*CELL, "goal", *_KEYS, "evaluated_with"]
    names = ("parity_gap", "gap_low", "gap_high", "drop", "drop_low", "drop_high", "uniform_drop", "mean_bits")
    means = over_seeds(matrix, keys, names)
    return cell_table(
        "Parity gap and drop under each repair, pp",
        (
            *map(Column.name, ("pair", "trained against", "evaluated with")),
            *map(Column, ("bits spent", "gap", "drop", "drop, uniform")),
        ),
        means,
        lambda row: (
            str(row["goal"]),
            str(row["trained_against"]),
            str(row["evaluated_with"]),
            number(1)(row["mean_bits"]),
            _with_interval(row, "parity_gap", "gap"),
            _with_interval(row, "drop", "drop"),
            spread_field(row, "uniform_drop", pct),
        ),
    )


def _with_interval(row: Row, name: str, ends: str) -> Field:
    return spread_field(row, name, pct, note=interval_text(row[f"{ends}_low"], row[f"{ends}_high"]))


@style()
def figure_repairs(matrix: pd.DataFrame, cells: Sequence[Row]) -> Figure | None:
    """Draws the drop of both pairs under each repair, a panel per cell."""
    shown = [rows for cell in cells if len(rows := of_cell(matrix, cell))]
    if not shown:
        return None
    names = list(dict.fromkeys(name for rows in shown for name in rows["evaluated_with"]))
    title = "What is left of the drop under each repair"
    figure, axes = panels(
        [title_of(rows) for rows in shown], panel_height=0.3 * len(names) + 0.4, title=title, columns=1
    )
    for panel, rows in zip(axes, shown, strict=True):
        _drops(panel, rows, names)
    axes[-1].set_xlabel("drop (pp)")
    return with_legend(figure, goal_handles())


def _drops(panel: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    means = over_seeds(rows, ["goal", "evaluated_with"], ("drop", "drop_low", "drop_high"))
    for shift, goal in ((-0.12, Goal.ROBUST), (0.12, Goal.DETRIMENTAL)):
        for row in means[means["goal"] == goal].to_dict("records"):
            y = names.index(str(row["evaluated_with"])) + shift
            ends = [100 * row["drop_low"], 100 * row["drop_high"]]
            if not is_missing(ends[0]):
                panel.plot(ends, [y, y], color=COLORS[goal], linewidth=1.5)
            panel.plot(100 * row["drop"], y, MARKERS[goal], color=COLORS[goal], markersize=6)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.set_xlim(-8, 103)


def _derive(findings: Findings) -> dict[str, pd.DataFrame]:
    matrix = repair_matrix(findings.tables["repairs"])
    white_boxes = {record.uid: record.white_box_seed or 0 for record in findings.records}
    return {"repair_matrix": matrix, "repair_white_boxes": over_white_boxes(matrix, white_boxes)}


REPORT = AnalysisReport(derive=_derive, section=section)
