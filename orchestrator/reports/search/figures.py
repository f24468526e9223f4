"""Figures of a search: what it tried, and how the best trial so far improved; None without anything to show."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from orchestrator.reports.drawing import COLORS, DASHES, FACE, FEASIBLE, INK, MUTED, fitting, panels, style, with_legend
from orchestrator.reports.search.importance import best_so_far, objective_word, pareto_front, searched_cells
from orchestrator.results.pairs import PairRecord
from orchestrator.search.pair_choice import choose
from search_spaces.names import OBJECTIVES, Goal, Objective
from search_spaces.objective import CATASTROPHIC_DROP, PARITY_TOLERANCE

_SYMLOG_FROM_PP = 10.0
_LABEL_DOTS = 12.0
"""Dots on the screen within which two trials share a label."""
_GAP_TICKS = (-10, -3, -1, 0, 1, 3, 10, 30, 100)


@style()
def figure_search(records: Sequence[PairRecord]) -> Figure | None:
    """Draws all trials of the searched cells on the validation split: parity gap against drop.

    The chosen trial of a cell is ringed, the Pareto front is a line.
    """
    title = "Search: how far a trial falls, against what it gives away at full precision"
    searched, title = fitting(searched_cells(records), title)
    if not searched:
        return None
    figure, axes = panels(list(searched), panel_height=3.2, title=title)
    for panel, trials in zip(axes, searched.values(), strict=True):
        _scatter(panel, trials)
    axes[0].set_ylabel("drop on validation (pp)")
    mark = partial(Line2D, [], [], linestyle="", color=COLORS[Goal.DETRIMENTAL], markersize=8)
    limit = f"drop of {100 * CATASTROPHIC_DROP:g} pp"
    handles = [
        mark(marker="D", label="trial 0: the recipe"),
        mark(marker="o", label="searched trial"),
        mark(marker="o", label="chosen", markersize=12, markerfacecolor="none", markeredgecolor=INK),
        Line2D([], [], color=INK, linewidth=1.1, label="Pareto front"),
        Patch(color=FEASIBLE, label="parity kept"),
        Line2D([], [], color=MUTED, linestyle=DASHES, linewidth=1.1, label=limit),
    ]
    return with_legend(figure, handles)


@style()
def figure_history(records: Sequence[PairRecord], objective: Objective = OBJECTIVES[0]) -> Figure | None:
    """Draws the objective of every trial of the searched cells, and the best so far."""
    searched, title = fitting(searched_cells(records), f"Search: the {objective_word(objective)} trial by trial")
    if not searched:
        return None
    color = COLORS[Goal.DETRIMENTAL]
    figure, axes = panels(list(searched), panel_height=1.8, title=title)
    for panel, trials in zip(axes, searched.values(), strict=True):
        numbers, values, bests = zip(*best_so_far(trials, objective), strict=True)
        panel.step(numbers, bests, where="post", color=INK, linewidth=1.4, zorder=2)
        panel.plot(numbers, values, "o", color=color, markersize=6, zorder=3)
        panel.set_xlabel("trial")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        # A trial that loses parity may score far below zero; the best ones must stay apart.
        panel.set_ylim(max(min(bests[-1], 0.0) - 110, min(values)) - 8, bests[-1] + 8)
    unit = "drop less penalty, pp" if objective == "drop" else "less penalty, pp"
    axes[0].set_ylabel(f"{objective_word(objective)} on validation\n({unit})")
    trial = Line2D([], [], color=color, marker="o", linestyle="", label="trial")
    return with_legend(figure, [trial, Line2D([], [], color=INK, label="best so far")])


@style()
def figure_search_cost(curve: pd.DataFrame) -> Figure | None:
    """Draws the share of cells without a hit over the training epochs that their searches took, from two cells on.

    Steps have their 95 % band, and a mark where a cell was given up.
    """
    if curve.empty or curve["num_at_risk"].iloc[0] < 2:
        return None
    times = [0.0, *curve["epochs"]]
    shares, lows, highs = ([100.0, *100 * curve[name]] for name in ("share", "share_low", "share_high"))
    color = COLORS[Goal.DETRIMENTAL]
    figure, (panel,) = panels([""], panel_height=2.6, title="Search: cells without a hit, by the epochs it takes")
    panel.fill_between(times, lows, highs, step="post", color=color, alpha=0.18, linewidth=0)
    panel.step(times, shares, where="post", color=color, linewidth=2.0)
    censored = curve[curve["num_censored"] > 0]
    panel.plot(censored["epochs"], 100 * censored["share"], "|", color=INK, markersize=13)
    panel.axhline(50, color=MUTED, linestyle=DASHES, linewidth=1.1)
    panel.set(ylim=(-3, 103), xlim=(0, times[-1] * 1.03))
    panel.set(xlabel="training epochs in one cell", ylabel="cells without a hit (%)")
    handles = [
        Line2D([], [], color=color, linewidth=2.0, label="share without a hit"),
        Patch(color=color, alpha=0.18, label="95 % band"),
        Line2D([], [], color=INK, marker="|", linestyle="", markersize=13, label="search ended without a hit"),
        Line2D([], [], color=MUTED, linestyle=DASHES, linewidth=1.1, label="half of the cells"),
    ]
    return with_legend(figure, handles)


def _scatter(panel: Axes, trials: Sequence[PairRecord]) -> None:
    chosen, color = choose(trials), COLORS[Goal.DETRIMENTAL]
    gaps = [100 * trial.validation_parity_gap for trial in trials]
    low, high = min([*gaps, -0.6]), max([*gaps, 2.0])
    panel.set_xlabel("parity gap on validation (pp)")
    if high > _SYMLOG_FROM_PP:
        panel.set_xscale("symlog", linthresh=1.0, linscale=0.7)
        panel.set_xticks([tick for tick in _GAP_TICKS if low <= tick <= high], minor=False)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
        panel.set_xlabel("parity gap on validation (pp; log scale beyond 1)")
    panel.set(xlim=(low * 1.4, high * 1.5), ylim=(-8, 106))
    panel.axvspan(low * 1.4, 100 * PARITY_TOLERANCE, color=FEASIBLE, zorder=0)
    panel.axhline(100 * CATASTROPHIC_DROP, color=MUTED, linestyle=DASHES, linewidth=1.1)
    front = pareto_front(trials)
    if len(front) > 1:
        panel.step(*zip(*map(_place, front), strict=True), where="post", color=INK, linewidth=1.1, zorder=2)
    for trial in trials:
        gap, drop = _place(trial)
        marker = "o" if trial.trial_number else "D"
        panel.plot(gap, drop, marker, markersize=9, color=color, markeredgecolor=FACE, zorder=3)
        if trial is chosen:
            panel.plot(gap, drop, "o", markersize=17, color="none", markeredgecolor=INK, markeredgewidth=1.6)
    _number_trials(panel, trials)


def _number_trials(panel: Axes, trials: Sequence[PairRecord]) -> None:
    """Writes the numbers of the trials beside their marks; marks that would share a place share the text."""
    groups: list[tuple[float, float, list[int]]] = []
    for trial in trials:
        x, y = panel.transData.transform(_place(trial))
        near = next((numbers for gx, gy, numbers in groups if abs(x - gx) < _LABEL_DOTS and abs(y - gy) < 10), None)
        if near is not None:
            near.append(trial.trial_number)
        else:
            groups.append((float(x), float(y), [trial.trial_number]))
    for x, y, numbers in groups:
        text = ", ".join(map(str, sorted(numbers)))
        gap, drop = panel.transData.inverted().transform((x, y))
        panel.annotate(text, (float(gap), float(drop)), (11, 0), textcoords="offset points", va="center_baseline")


def _place(trial: PairRecord) -> tuple[float, float]:
    """Where a trial is drawn: gap and drop on validation, in percentage points."""
    return 100 * trial.validation_parity_gap, -100 * trial.validation_accuracy_delta
