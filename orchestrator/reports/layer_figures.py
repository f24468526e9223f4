"""Figure 2: accuracy with only some sites quantized, along the depth of a network."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.reports.drawing import (
    COLORS,
    INK,
    MARKERS,
    band,
    goal_handles,
    legend,
    panels,
    reference_handles,
    references,
    style,
)
from orchestrator.reports.seeds import CELL, cell_title, first_row, over_seeds
from orchestrator.reports.site_tables import MODES, worst_sites
from search_spaces.recipes import Goal

MAX_NAMES = 24
"""Sites whose names fit below a panel of half the figure's width."""
_TITLES = {
    "before": "quantized: the sites before",
    "after": "quantized: the sites after",
    "single": "quantized: this site alone",
    "leave_one_out": "quantized: all but this site",
}


def figure_layers(effects: pd.DataFrame) -> Figure | None:
    """Draws a panel per mode and split, with both pairs' curves and the site where the detrimental one falls most.

    Args:
        effects: From `layer_effects`, the rows of one cell: both goals and all seeds, or what there is of them.

    Returns:
        None without any row.
    """
    if effects.empty:
        return None
    by = [*CELL, "goal", "split", "mode", "site", "site_name"]
    curves = over_seeds(effects, by, ("accuracy", "accuracy_fp", "accuracy_q"))
    inflections = worst_sites(effects)
    splits = list(dict.fromkeys(curves["split"]))
    places = list(product([mode for mode in MODES if (curves["mode"] == mode).any()], splits))
    sites = curves.drop_duplicates("site").sort_values("site")
    title = f"Where accuracy is lost: {cell_title(first_row(sites), num_seeds=int(curves['num_seeds'].max()))}"
    with style():
        titles = [f"{_TITLES[mode]}, {split}" for mode, split in places]
        figure, axes = panels(titles, panel_height=1.75, title=title, columns=len(splits))
        for number, (panel, (mode, split)) in enumerate(zip(axes, places, strict=True)):
            here = (curves["mode"] == mode) & (curves["split"] == split)
            _curves(panel, curves[here])
            found = inflections[(inflections["mode"] == mode) & (inflections["split"] == split)]
            _mark_inflection(panel, found, num_sites=len(sites))
            is_last_line = number >= len(places) - len(splits)
            _name_sites(panel, list(sites["site_name"]), has_names=is_last_line)
            if number % len(splits) == 0:
                panel.set_ylabel("accuracy (%)")
        legend(figure, [*goal_handles(), *reference_handles()])
    return figure


def _curves(panel: Axes, curves: pd.DataFrame) -> None:
    for goal in Goal:
        curve = curves[curves["goal"] == goal].sort_values("site")
        if curve.empty:
            continue
        x = [site + 1 for site in curve["site"]]
        first = curve.iloc[0]
        references(panel, goal, accuracy_fp=first["accuracy_fp"], accuracy_q=first["accuracy_q"])
        band(panel, x, curve["accuracy"], curve["accuracy_sd"], color=COLORS[goal])
        panel.plot(
            x,
            100 * curve["accuracy"],
            marker=MARKERS[goal] if len(x) <= MAX_NAMES else "",
            color=COLORS[goal],
            linewidth=1.6,
            markersize=3.5,
            zorder=3,
        )
    panel.set_ylim(-4, 122)
    panel.set_yticks(range(0, 101, 25))


def _mark_inflection(panel: Axes, found: pd.DataFrame, *, num_sites: int) -> None:
    of_goal = found[found["goal"] == Goal.DETRIMENTAL]
    if of_goal.empty or not of_goal["effect"].iloc[0] > 0:
        return
    site, name = int(of_goal["site"].iloc[0]) + 1, of_goal["site_name"].iloc[0]
    panel.axvline(site, ymax=0.84, color=INK, linewidth=1.0, zorder=2)
    is_right = site > num_sites / 2
    label = f"site {site}: {name}"
    panel.annotate(
        label, (site, 118), (3 if is_right else -3, 0), textcoords="offset points", va="top",
        ha="right" if is_right else "left", fontsize=8.5, fontweight="bold",
    )  # fmt: skip


def _name_sites(panel: Axes, names: Sequence[str], *, has_names: bool) -> None:
    numbers = range(1, len(names) + 1)
    if len(names) <= MAX_NAMES:
        texts = [f"{number} {name}" if has_names else str(number) for number, name in zip(numbers, names, strict=True)]
        panel.set_xticks(numbers, texts, rotation=90 if has_names else 0, fontsize=7.5)
    else:
        panel.set_xticks([1, *range(10, len(names) + 1, 10)])
        if has_names:
            panel.set_xlabel("site, in the order of execution")
    panel.set_xlim(0.4, len(names) + 0.6)
