"""Figure 4 and its companions: corrupted images, cures, and signals that may tell a drop beforehand."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.reports.drawing import (
    COLORS,
    INK,
    MARKERS,
    MUTED,
    band,
    goal_handles,
    legend,
    line_handles,
    panels,
    reference_handles,
    references,
    style,
)
from orchestrator.reports.seeds import CELL, Row, cell_title, first_row, of_cell, over_seeds
from search_spaces.recipes import Goal

_CURVES = {"scale_quantile": "-", "sites_at_full_precision": "-", "random_sites": ":"}
_PANELS = (
    ("scale from a quantile", ("scale_quantile",), "quantile that ends the range"),
    ("sites at full precision", ("sites_at_full_precision", "random_sites"), "sites left at full precision"),
)


def figure_corruptions(curves: pd.DataFrame) -> Figure | None:
    """Draws a panel per corruption: accuracy by degree, both pairs, at full precision and quantized.

    Args:
        curves: From `corruption_curves`, the rows of one cell.

    Returns:
        None without any row.
    """
    if curves.empty:
        return None
    kinds = list(dict.fromkeys(curves["corruption"]))
    title = f"Corrupted test images: {cell_title(first_row(curves), num_seeds=int(curves['num_seeds'].max()))}"
    with style():
        columns = min(3, len(kinds))
        figure, axes = panels(
            [kind.replace("_", " ") for kind in kinds], panel_height=1.6, title=title, columns=columns
        )
        for place, (panel, kind) in enumerate(zip(axes, kinds, strict=True)):
            for goal in Goal:
                curve = curves[(curves["corruption"] == kind) & (curves["goal"] == goal)].sort_values("degree")
                for name, line in (("accuracy_fp", "-"), ("accuracy_q", "--")):
                    band(panel, curve["degree"], curve[name], curve[f"{name}_sd"], color=COLORS[goal])
                    panel.plot(
                        curve["degree"], 100 * curve[name], line, color=COLORS[goal], marker=MARKERS[goal],
                        linewidth=1.6, markersize=4, markerfacecolor=COLORS[goal] if line == "-" else "none",
                    )  # fmt: skip
            panel.set_ylim(-3, 103)
            panel.set_yticks(range(0, 101, 25))
            panel.set_xticks(sorted(set(curves["degree"])))
            if place % columns == 0:
                panel.set_ylabel("test accuracy (%)")
            if place >= len(kinds) - columns:
                panel.set_xlabel("degree (0: clean)")
        legend(figure, [*goal_handles(), *line_handles()])
    return figure


def figure_mitigation(summary: pd.DataFrame, cells: Sequence[Row]) -> Figure | None:
    """Draws what the cures give back: two panels per cell, one for quantile scales, one for sites left alone.

    Args:
        summary: From `mitigation_summary`.
        cells: The cells to show.

    Returns:
        None where nothing is known of these cells.
    """
    shown = [rows for cell in cells if len(rows := of_cell(summary, cell))]
    if not shown:
        return None
    titles = [
        f"{cell_title(first_row(rows), num_seeds=rows['seed'].nunique())}\n{name}"
        for rows in shown
        for name, _, _ in _PANELS
    ]
    with style():
        figure, axes = panels(titles, panel_height=2.0, title="What the suggested cures give back", columns=2)
        for place, rows in enumerate(shown):
            means = over_seeds(rows, [*CELL, "goal", "kind", "value"], ("accuracy_fp", "accuracy_q"))
            for panel, (_, kinds, label) in zip(axes[2 * place :], _PANELS, strict=False):
                _cures(panel, means, kinds)
                panel.set_xlabel(label)
            axes[2 * place].set_ylabel("quantized\ntest accuracy (%)")
        random = Line2D([], [], color=INK, linestyle=":", label="random sites")
        legend(figure, [*goal_handles(), random, *reference_handles()])
    return figure


def _cures(panel: Axes, means: pd.DataFrame, kinds: Sequence[str]) -> None:
    of_kinds = means[means["kind"].isin(kinds)]
    values = sorted(set(of_kinds["value"]), reverse="scale_quantile" in kinds)
    places = {value: place for place, value in enumerate(values)}
    for goal in Goal:
        uncured = means[(means["goal"] == goal) & (means["kind"] == "none")]
        if len(uncured):
            first = uncured.iloc[0]
            references(panel, goal, accuracy_fp=first["accuracy_fp"], accuracy_q=first["accuracy_q"])
        for kind in kinds:
            curve = of_kinds[(of_kinds["goal"] == goal) & (of_kinds["kind"] == kind)]
            x = [places[value] for value in curve["value"]]
            band(panel, x, curve["accuracy_q"], curve["accuracy_q_sd"], color=COLORS[goal])
            panel.plot(x, 100 * curve["accuracy_q"], _CURVES[kind], color=COLORS[goal], marker=MARKERS[goal], zorder=3)
    panel.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    panel.set_xlim(-0.5, max(len(values), 1) - 0.5)
    panel.set_ylim(-3, 103)


def figure_indicators(found: pd.DataFrame) -> Figure | None:
    """Draws Spearman's correlation of every signal with the drop, with its 95 % interval, strongest first.

    Args:
        found: From `indicator_correlations`, one group.

    Returns:
        None where no signal has a correlation.
    """
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
