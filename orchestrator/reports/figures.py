"""Three figures of a sweep: what quantization costs, what the search tried, how the training went.

Marks are told apart by shape and fill as well as by colour. A figure without anything to show is None.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from orchestrator.reports.drawing import COLORS, FACE, FEASIBLE, INK, MUTED, legend, panels, style
from orchestrator.reports.format import is_missing, pp
from orchestrator.reports.pairs import PairRecord, choose
from orchestrator.reports.trials import Curve
from search_spaces.objective import CATASTROPHIC_DROP, PARITY_TOLERANCE
from search_spaces.recipes import Goal

Row = Mapping[Hashable, object]

_MARKERS = {Goal.ROBUST: "o", Goal.DETRIMENTAL: "s"}
_LABEL_PP = 12.0
"""Width of a drop's label in a panel as wide as the figure, in points of accuracy."""
_DASHES = (0, (4, 3))
_SYMLOG_FROM_PP = 10.0
_GAP_TICKS = (-10, -3, -1, 0, 1, 3, 10, 30, 100)


def figure_table1(table: pd.DataFrame) -> Figure | None:
    """Draws Table 1 as dumbbells: both pairs' test accuracy at every budget, full precision to quantized.

    Args:
        table: From `orchestrator.reports.table1.table1`.

    Returns:
        One panel per network and option set; None while no pair is done.
    """
    done = table.dropna(subset=["robust_accuracy_fp", "detrimental_accuracy_fp"], how="all")
    if done.empty:
        return None
    groups: dict[str, list[Row]] = {}
    for row in table.to_dict("records"):
        title = f"{row['architecture']}\noption set {row['option_set']} ({row['bit_widths']})"
        groups.setdefault(title, []).append(row)
    most = max(len(rows) for rows in groups.values())
    with style():
        figure, axes = panels(list(groups), panel_height=0.45 + 0.62 * most, title=_table1_title(done))
        for place, (panel, rows) in enumerate(zip(axes, groups.values(), strict=True)):
            _dumbbells(panel, rows, label_pp=_LABEL_PP * min(len(groups), 3))
            panel.set_xlabel("test accuracy (%)")
            if place == 0:
                panel.set_ylabel("budget (bits per image)")
        legend(figure, [*_precision_handles(), *_goal_handles(), _white_box_handle()])
    return figure


def figure_search(records: Sequence[PairRecord]) -> Figure | None:
    """Draws all trials of the searched cells on the validation split: parity gap against drop.

    Args:
        records: The pairs that are done.

    Returns:
        One panel per searched cell, with the chosen trial ringed; None while no searched trial is done.
    """
    cells: dict[str, list[PairRecord]] = {}
    for record in records:
        if record.goal is Goal.DETRIMENTAL:
            title = f"{record.architecture}\n{record.option_set}-{record.budget_level}, {record.budget} bits"
            cells.setdefault(title, []).append(record)
    searched = {title: trials for title, trials in cells.items() if any(t.trial_number for t in trials)}
    if not searched:
        return None
    with style():
        title = "Search: how far a trial falls, against what it gives away at full precision"
        figure, axes = panels(list(searched), panel_height=3.2, title=title)
        for panel, trials in zip(axes, searched.values(), strict=True):
            _scatter(panel, trials)
        axes[0].set_ylabel("drop on validation (pp)")
        legend(figure, _search_handles())
    return figure


def figure_training(curves: Mapping[str, Mapping[Goal, Curve]]) -> Figure | None:
    """Draws validation accuracy by epoch, at full precision and quantized.

    Args:
        curves: For every panel title the curves of its robust and its detrimental pair, where there are any.

    Returns:
        One panel per title; None without any curve.
    """
    shown = {title: of_goal for title, of_goal in curves.items() if of_goal}
    if not shown:
        return None
    with style():
        title = "Training: full-precision and quantized accuracy after every epoch"
        figure, axes = panels(list(shown), panel_height=2.0, title=title)
        for panel, of_goal in zip(axes, shown.values(), strict=True):
            for goal, curve in of_goal.items():
                for values, line in ((curve.accuracy_fp, "-"), (curve.accuracy_q, "--")):
                    points = [100 * value for value in values]
                    dot = _MARKERS[goal] if len(points) == 1 else ""
                    panel.plot(curve.epochs, points, linestyle=line, color=COLORS[goal], linewidth=1.8, marker=dot)
            panel.set_ylim(-3, 103)
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes[0].set_ylabel("validation accuracy (%)")
        legend(figure, [*_goal_handles(), *_line_handles()])
    return figure


def _table1_title(done: pd.DataFrame) -> str:
    falls: list[str] = []
    for goal, most in ((Goal.ROBUST, "at most"), (Goal.DETRIMENTAL, "up to")):
        largest = float(done[f"{goal}_accuracy_delta"].min())
        if not is_missing(largest):
            falls.append(f"{goal} pairs {'' if falls else 'lose '}{most} {max(0.0, -100 * largest):.1f} pp")
    return "Quantized, " + ", ".join(falls)


def _dumbbells(panel: Axes, rows: Sequence[Row], *, label_pp: float) -> None:
    for place, row in enumerate(rows):
        for goal, offset in ((Goal.ROBUST, -0.18), (Goal.DETRIMENTAL, 0.2)):
            fp, delta = row[f"{goal}_accuracy_fp"], row[f"{goal}_accuracy_delta"]
            if isinstance(fp, float) and isinstance(delta, float) and not is_missing(fp):
                _dumbbell(panel, place + offset, goal=goal, fp=100 * fp, delta=100 * delta)
                q = 100 * (fp + delta)
                _label_drop(panel, place + offset, goal=goal, fp=100 * fp, q=q, width=label_pp)
            else:
                state = f"{goal}: {row[f'{goal}_state']}"
                panel.text(2, place + offset, state, color=MUTED, fontsize=9, va="center")
    white_box = next((row["accuracy_white_box"] for row in rows), None)
    if isinstance(white_box, float) and not is_missing(white_box):
        panel.axvline(100 * white_box, color=INK, linestyle=_DASHES, linewidth=1.1, zorder=1)
    panel.set_yticks(range(len(rows)), [_budget_label(row) for row in rows])
    panel.set_ylim(len(rows) - 0.45, -0.55)
    # Room for the marker of a pair that gets nothing right.
    panel.set_xlim(-3, 104)
    panel.set_xticks(range(0, 101, 20))
    panel.grid(visible=False, axis="y")


def _dumbbell(panel: Axes, y: float, *, goal: Goal, fp: float, delta: float) -> None:
    color, marker = COLORS[goal], _MARKERS[goal]
    panel.plot([fp, fp + delta], [y, y], color=color, linewidth=3.2, solid_capstyle="butt", zorder=2)
    for x, face in ((fp, color), (fp + delta, FACE)):
        panel.plot(x, y, marker, color=color, markersize=7.5, markerfacecolor=face, markeredgewidth=1.8, zorder=3)


def _label_drop(panel: Axes, y: float, *, goal: Goal, fp: float, q: float, width: float) -> None:
    """Writes the drop above its line where that is long enough, else beside its quantized end."""
    left, right = min(fp, q), max(fp, q)
    if right - left > 1.3 * width:
        place, offset, align = (left + right) / 2, (0.0, 5.0), "center"
    elif left > 1.15 * width:
        place, offset, align = left, (-8.0, -3.5), "right"
    elif right - left > 0.6 * width:
        place, offset, align = (left + right) / 2, (0.0, 5.0), "center"
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


def _budget_label(row: Row) -> str:
    level, budget = str(row["budget_level"]), str(row["budget"])
    return budget if level == f"{budget}b" else f"{level}   {budget}"


def _scatter(panel: Axes, trials: Sequence[PairRecord]) -> None:
    chosen = choose(trials)
    gaps = [100 * trial.validation_parity_gap for trial in trials]
    low, high = min([*gaps, -0.6]), max([*gaps, 2.0])
    panel.set_xlabel("parity gap on validation (pp)")
    if high > _SYMLOG_FROM_PP:
        panel.set_xscale("symlog", linthresh=1.0, linscale=0.7)
        panel.set_xticks([tick for tick in _GAP_TICKS if low <= tick <= high], minor=False)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
        panel.set_xlabel("parity gap on validation (pp; log scale beyond 1)")
    panel.set_xlim(low * 1.4, high * 1.5)
    panel.set_ylim(-8, 106)
    panel.axvspan(low * 1.4, 100 * PARITY_TOLERANCE, color=FEASIBLE, zorder=0)
    panel.axhline(100 * CATASTROPHIC_DROP, color=MUTED, linestyle=_DASHES, linewidth=1.1)
    color = COLORS[Goal.DETRIMENTAL]
    for trial, gap in zip(trials, gaps, strict=True):
        drop = -100 * trial.validation_accuracy_delta
        marker = "o" if trial.trial_number else "D"
        panel.plot(gap, drop, marker, markersize=9, color=color, markeredgecolor=FACE, zorder=3)
        panel.annotate(str(trial.trial_number), (gap, drop), (11, 0), textcoords="offset points", va="center_baseline")
        if trial is chosen:
            panel.plot(gap, drop, "o", markersize=17, color="none", markeredgecolor=INK, markeredgewidth=1.6)


def _precision_handles() -> list[Line2D]:
    mark = partial(Line2D, [], [], linestyle="", marker="o", markersize=7.5, color=MUTED, markeredgewidth=1.8)
    return [mark(label="full precision"), mark(label="quantized", markerfacecolor=FACE)]


def _goal_handles() -> list[Line2D]:
    handle = partial(Line2D, [], [], linewidth=3)
    return [handle(color=COLORS[goal], marker=_MARKERS[goal], label=f"{goal} pair") for goal in Goal]


def _line_handles() -> list[Line2D]:
    handle = partial(Line2D, [], [], color=INK)
    return [handle(linestyle="-", label="full precision"), handle(linestyle="--", label="quantized")]


def _white_box_handle() -> Line2D:
    return Line2D([], [], color=INK, linestyle=_DASHES, linewidth=1.1, label="white box")


def _search_handles() -> list[Line2D | Patch]:
    mark = partial(Line2D, [], [], linestyle="", color=COLORS[Goal.DETRIMENTAL], markersize=8)
    limit = f"drop of {100 * CATASTROPHIC_DROP:g} pp"
    return [
        mark(marker="D", label="trial 0: the recipe"),
        mark(marker="o", label="searched trial"),
        mark(marker="o", label="chosen", markersize=12, markerfacecolor="none", markeredgecolor=INK),
        Patch(color=FEASIBLE, label="parity kept"),
        Line2D([], [], color=MUTED, linestyle=_DASHES, linewidth=1.1, label=limit),
    ]
