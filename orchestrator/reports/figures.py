"""Two figures of a sweep: what quantization costs, and how the training went.

Marks are told apart by shape and fill as well as by colour. A figure without anything to show is None.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from orchestrator.reports.drawing import (
    COLORS,
    DASHES,
    INK,
    MARKERS,
    MUTED,
    dumbbell,
    fitting,
    goal_handles,
    line_handles,
    panels,
    precision_handles,
    style,
    with_legend,
)
from orchestrator.reports.grouping import Row, is_missing
from orchestrator.reports.layout import budget_text, pp
from orchestrator.reports.table1 import drops_beyond_noise
from orchestrator.results.trials import Curve
from search_spaces.names import Goal

_LABEL_PP = 12.0
"""Width of a drop's label in a panel as wide as the figure, in points of accuracy."""


@style()
def figure_table1(table: pd.DataFrame) -> Figure | None:
    """Draws Table 1 as dumbbells: both pairs' test accuracy at every budget, full precision to quantized.

    There is a panel per network and option set.
    """
    done = table.dropna(subset=["robust_accuracy_fp", "detrimental_accuracy_fp"], how="all")
    if done.empty:
        return None
    groups: dict[str, dict[object, list[Row]]] = {}
    for row in table.to_dict("records"):
        title = f"{row['architecture']}\noption set {row['option_set']} ({row['bit_widths']})"
        # Attackers of one budget have levels of their own.
        groups.setdefault(title, {}).setdefault((row["budget"], row["budget_level"]), []).append(row)
    most = max(len(budgets) for budgets in groups.values())
    figure, axes = panels(list(groups), panel_height=0.45 + 0.62 * most, title=_table1_title(done))
    for panel, budgets in zip(axes, groups.values(), strict=True):
        _dumbbells(panel, list(budgets.values()), label_pp=_LABEL_PP * min(len(groups), 3))
        panel.set_xlabel("test accuracy (%)")
    axes[0].set_ylabel("budget (bits per image)")
    handles = [*precision_handles(), *goal_handles()]
    handles.append(Line2D([], [], color=INK, linestyle=DASHES, linewidth=1.1, label="white box"))
    if table["seed"].nunique() > 1:
        handles.append(Line2D([], [], color=INK, linestyle="", marker="|", markersize=11, label="a seed, quantized"))
    return with_legend(figure, handles)


@style()
def figure_training(curves: Mapping[str, Mapping[Goal, Curve]]) -> Figure | None:
    """Draws validation accuracy by epoch, at full precision and quantized, a panel per title."""
    title = "Training: full-precision and quantized accuracy after every epoch"
    shown, title = fitting({cell: of_goal for cell, of_goal in curves.items() if of_goal}, title)
    if not shown:
        return None
    figure, axes = panels(list(shown), panel_height=2.0, title=title)
    for panel, of_goal in zip(axes, shown.values(), strict=True):
        for goal, curve in of_goal.items():
            for values, line in ((curve.accuracy_fp, "-"), (curve.accuracy_q, "--")):
                points = [100 * value for value in values]
                dot = MARKERS[goal] if len(points) == 1 else ""
                panel.plot(curve.epochs, points, linestyle=line, color=COLORS[goal], linewidth=1.8, marker=dot)
        panel.set(ylim=(-3, 103), xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes[0].set_ylabel("validation accuracy (%)")
    return with_legend(figure, [*goal_handles(), *line_handles()])


def _table1_title(done: pd.DataFrame) -> str:
    falls: list[str] = []
    of_goals = ((Goal.ROBUST, "at most", done), (Goal.DETRIMENTAL, "up to", drops_beyond_noise(done)))
    for goal, most, rows in of_goals:
        largest = float(rows[f"{goal}_accuracy_delta"].min())
        if not is_missing(largest):
            falls.append(f"{goal} pairs {'' if falls else 'lose '}{most} {max(0.0, -100 * largest):.1f} pp")
    num_seeds = done["seed"].nunique()
    seeds = f" (means of {num_seeds} seeds)" if num_seeds > 1 else ""
    if not falls:
        return "Quantized, no pair drops beyond noise" + seeds
    return "Quantized, " + ", ".join(falls) + seeds


def _dumbbells(panel: Axes, budgets: Sequence[Sequence[Row]], *, label_pp: float) -> None:
    """Draws a line of the panel per budget and goal; several seeds as their mean, with a tick for each."""
    for place, rows in enumerate(budgets):
        for goal, offset in ((Goal.ROBUST, -0.18), (Goal.DETRIMENTAL, 0.2)):
            numbers = pd.DataFrame(rows)[[f"{goal}_accuracy_fp", f"{goal}_accuracy_delta"]].astype(float).dropna()
            if numbers.empty:
                if state := rows[0][f"{goal}_state"]:
                    panel.text(2, place + offset, f"{goal}: {state}", color=MUTED, fontsize=9, va="center")
                continue
            fp, delta = (100 * float(mean) for mean in numbers.mean())
            y, color = place + offset, COLORS[goal]
            dumbbell(panel, y, color=color, marker=MARKERS[goal], fp=fp, delta=delta)
            if len(numbers) > 1:
                each = 100 * numbers.sum(axis=1)
                panel.plot(each, [y] * len(each), "|", color=INK, markersize=11, markeredgewidth=1.2, zorder=4)
            _label_drop(panel, y, goal=goal, fp=fp, q=fp + delta, width=label_pp)
    white_box = pd.Series([row["accuracy_white_box"] for rows in budgets for row in rows], dtype=float).mean()
    if not is_missing(white_box):
        panel.axvline(100 * white_box, color=INK, linestyle=DASHES, linewidth=1.1, zorder=1)
    panel.set_yticks(range(len(budgets)), [budget_text(rows[0], "   ") for rows in budgets])
    # From -3 %: room for the marker of a pair that gets nothing right.
    panel.set(ylim=(len(budgets) - 0.45, -0.55), xlim=(-3, 104), xticks=range(0, 101, 20))
    panel.grid(visible=False, axis="y")


def _label_drop(panel: Axes, y: float, *, goal: Goal, fp: float, q: float, width: float) -> None:
    """Writes the drop above its line where that is long enough, else beside its quantized end."""
    left, right = min(fp, q), max(fp, q)
    has_room_left = left > 1.15 * width
    if right - left > (1.3 if has_room_left else 0.6) * width:
        place, offset, align = (left + right) / 2, (0.0, 5.0), "center"
    elif has_room_left:
        place, offset, align = left, (-8.0, -3.5), "right"
    else:
        place, offset, align = right, (8.0, -3.5), "left"
    panel.annotate(
        pp((q - fp) / 100, digits=1).replace("-", "\N{MINUS SIGN}") + " pp",
        (place, y),
        offset,
        textcoords="offset points",
        ha=align,
        color=COLORS[goal],
        fontsize=10,
        fontweight="bold",
    )
