"""The matrix {trained against} x {evaluated with} over white boxes: a mean with its interval, as table and heat map.

Pairs of one white box are one cluster, so intervals are over white boxes: one that a network has alone has none.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from orchestrator.reports.drawing import DETRIMENTAL, FACE, INK, MUTED, panels, style
from orchestrator.reports.grouping import CELL, Row, is_missing
from orchestrator.reports.layout import Column, Field, TextTable, cell_name, interval_text, pct, text_table
from orchestrator.results.statistics import mean_interval
from search_spaces.names import Goal
from search_spaces.objective import CATASTROPHIC_DROP, parity_violation

MEANS = ("parity_gap", "drop", "uniform_drop")
"""What is averaged over white boxes."""
_KEYS = (*CELL, "trained_against", "evaluated_with")
_ROW_HEIGHT = 0.52
_ROUNDING = 1e-9


def over_white_boxes(matrix: pd.DataFrame, white_boxes: Mapping[str, int]) -> pd.DataFrame:
    """Averages the detrimental pairs of the matrix over white boxes.

    Args:
        matrix: A row per pair and repair, as `repairs.repair_matrix` lays it out.
        white_boxes: Seed of the white box of every pair, by the pair's uid.

    Returns:
        A row per cell without its seeds, attacker and repair: `CELL`, trained_against, evaluated_with, num_white_boxes,
        num_pairs, of `MEANS` the mean over white boxes of the means over their pairs with Student's 95 % interval
        (`_low`, `_high`; missing for one white box), and num_catastrophic: pairs that under the repair lose at most
        1 pp at full precision and drop by 10 pp or more.
    """
    own = matrix[matrix["goal"] == Goal.DETRIMENTAL]
    own = own.assign(white_box=own["pair_uid"].map(dict(white_boxes)))
    rows = []
    for keys, pairs in own.groupby(list(_KEYS), sort=False, dropna=False):
        clusters = pairs.groupby("white_box", sort=False)
        row: dict[str, Any] = dict(zip(_KEYS, keys, strict=True))
        row |= {"num_white_boxes": clusters.ngroups, "num_pairs": len(pairs)}
        for name in MEANS:
            mean = mean_interval(list(clusters[name].mean()))
            row |= {name: mean.mean, f"{name}_low": mean.low, f"{name}_high": mean.high}
        falls = pairs["drop"] >= CATASTROPHIC_DROP - _ROUNDING
        row["num_catastrophic"] = int((falls & (pairs["parity_gap"].map(parity_violation) <= 0)).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def has_attackers(means: pd.DataFrame) -> bool:
    """Tells whether some network has several attackers, so that there is a matrix to show."""
    by_network = means.groupby(["architecture", "option_set", "budget"])[["budget_level", "trained_against"]]
    return any(len(rows.drop_duplicates()) > 1 for _, rows in by_network) if len(means) else False


def matrix_text(means: pd.DataFrame) -> TextTable:
    """Lays the matrix out, a row per attacker and repair."""
    columns = (
        *map(Column.name, ("Network", "Cell", "trained against", "evaluated with")),
        *map(Column, ("gap", "drop", "drop, uniform", "catastrophic")),
    )
    return text_table("Attackers and repairs, means over white boxes, pp", columns, map(_fields, _rows(means)))


def _rows(means: pd.DataFrame) -> list[Row]:
    return list(means.to_dict("records"))


def _fields(row: Row) -> list[Field | str]:
    values = [Field(pct(row[name]), note=interval_text(row[f"{name}_low"], row[f"{name}_high"])) for name in MEANS]
    names = (row["architecture"], cell_name(row), row["trained_against"], row["evaluated_with"])
    return [*map(str, names), *values, f"{row['num_catastrophic']} of {row['num_pairs']}"]


@style()
def figure_matrix(means: pd.DataFrame) -> Figure | None:
    """Draws a panel per network: a row per attacker, a column per repair, the drop as colour and number."""
    networks = {
        f"{architecture} {option_set}, {budget} bits": rows
        for (architecture, option_set, budget), rows in means.groupby(
            ["architecture", "option_set", "budget"], sort=False
        )
    }
    if not networks:
        return None
    most = max(rows["budget_level"].nunique() for rows in networks.values())
    title = "Drop (gap) in pp: rows trained against, columns evaluated with; hatched: parity lost; framed: known repair"
    figure, axes = panels(list(networks), panel_height=_ROW_HEIGHT * most + 0.75, title=title, columns=1)
    for panel, rows in zip(axes, networks.values(), strict=True):
        _heat_map(panel, rows)
    return figure


def _heat_map(panel: Axes, rows: pd.DataFrame) -> None:
    attackers = list(dict.fromkeys(zip(rows["budget_level"], rows["trained_against"], strict=True)))
    repairs = list(dict.fromkeys(rows["evaluated_with"]))
    for row in _rows(rows):
        x = repairs.index(str(row["evaluated_with"]))
        y = attackers.index((row["budget_level"], row["trained_against"]))
        _square(panel, row, x, y)
    panel.set_xlim(-0.5, len(repairs) - 0.5)
    panel.set_ylim(len(attackers) - 0.5, -0.5)
    panel.set_xticks(range(len(repairs)), [_broken(name) for name in repairs], fontsize=7.5)
    panel.set_yticks(range(len(attackers)), [f"{level}\n{known}" for level, known in attackers], fontsize=8)
    panel.grid(visible=False)


def _square(panel: Axes, row: Mapping[Any, Any], x: int, y: int) -> None:
    is_lost = parity_violation(row["parity_gap"]) > 0
    is_known = row["trained_against"] == row["evaluated_with"]
    place, size = (x - 0.48, y - 0.46), (0.96, 0.92)
    strength = 0.85 * min(1.0, max(0.0, row["drop"]))
    panel.add_patch(Rectangle(place, *size, facecolor=DETRIMENTAL, alpha=strength, linewidth=0))
    panel.add_patch(
        Rectangle(
            place,
            *size,
            facecolor="none",
            edgecolor=INK if is_known else MUTED if is_lost else FACE,
            linewidth=1.8 if is_known else 0.5,
            hatch="//" if is_lost else None,
            hatch_linewidth=0.6,
        )
    )
    gap = "" if is_missing(row["parity_gap"]) else f"\n({pct(row['parity_gap'], digits=1)})"
    text = panel.text(x, y, f"{pct(row['drop'], digits=1)}{gap}", ha="center", va="center", fontsize=8, color=INK)
    # A rim, so that hatching does not cross the numbers.
    text.set_path_effects([withStroke(linewidth=2.5, foreground=FACE, alpha=0.8)])


def _broken(name: str) -> str:
    """Breaks a name into lines of about two words."""
    words = name.split()
    return "\n".join(" ".join(words[place : place + 2]) for place in range(0, len(words), 2))
