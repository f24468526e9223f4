"""Figures of Tables 2 and 3: a contact sheet of transitory points, and every network under every policy."""

import io
import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from orchestrator.reports.drawing import COLORS, MUTED, dumbbell, legend, panels, precision_handles, style
from orchestrator.reports.format import pp
from orchestrator.reports.seeds import CELL, CONTRAST, Row, cell_title, first_row, of_cell, over_seeds
from orchestrator.reports.table3 import NETWORKS, POLICIES
from orchestrator.reports.transitory import class_names
from search_spaces.recipes import Goal

_SHEET_COLUMNS = 6
_SHEET_IMAGES = 24
_POLICY_COLORS = {"robust": COLORS[Goal.ROBUST], "detrimental": COLORS[Goal.DETRIMENTAL], "random": MUTED}
_POLICY_MARKERS = {"robust": "o", "detrimental": "s", "random": "D"}


def figure_transitory(transitory: pd.DataFrame) -> Figure | None:
    """Draws the worst transitory points of one cell with what they are and what the quantized network sees.

    Args:
        transitory: The table of the analysis, the rows of one cell; of several seeds the first with images is shown.

    Returns:
        None where no transitory point comes with its image.
    """
    with_image = transitory[transitory["thumbnail"].notna()]
    if with_image.empty:
        return None
    first = with_image[with_image["seed"] == with_image["seed"].iloc[0]]
    worst = first.sort_values("margin_q", kind="stable").head(_SHEET_IMAGES)
    num_points = int(transitory.loc[transitory["seed"] == first["seed"].iloc[0], "is_transitory"].sum())
    names = class_names(transitory)
    captions = [
        f"{name}\n\u2192 {names.get(prediction, prediction)}".replace("_", " ")
        for name, prediction in zip(worst["label_name"], worst["prediction_q"], strict=True)
    ]
    has_seeds = transitory["seed"].nunique() > 1
    seed = f", seed {first['seed'].iloc[0]}" if has_seeds else ""
    title = f"The worst {len(worst)} of {num_points} transitory points: {cell_title(first_row(worst))}{seed}"
    with style():
        figure, axes = panels(captions, panel_height=1.25, title=title, columns=_SHEET_COLUMNS)
        for panel, picture in zip(axes, worst["thumbnail"], strict=True):
            panel.imshow(imread(io.BytesIO(picture), format="png"), cmap="gray", interpolation="nearest")
            panel.set_axis_off()
            panel.set_anchor("N")
    return figure


def figure_cross_policy(table3: pd.DataFrame, cells: Sequence[Row]) -> Figure | None:
    """Draws Table 3 as dumbbells, a panel per cell: every network from full precision to quantized, by policy.

    Args:
        table3: From `table3`.
        cells: The cells to show.

    Returns:
        None where nothing is known of these cells.
    """
    shown = [rows for cell in cells if len(rows := of_cell(table3, cell))]
    if not shown:
        return None
    num_seeds = [rows["seed"].nunique() for rows in shown]
    titles = [
        cell_title(first_row(rows), num_seeds=n).replace(" ", "\n", 1) for rows, n in zip(shown, num_seeds, strict=True)
    ]
    with style():
        title = "Is it the network, the policy, or the match? Every network under every policy"
        figure, axes = panels(titles, panel_height=2.6, title=title)
        for place, (panel, rows) in enumerate(zip(axes, shown, strict=True)):
            _dumbbells(panel, rows, has_names=place == 0, room=13.0 * min(len(shown), 3))
        handles = [
            Line2D(
                [], [], color=_POLICY_COLORS[policy], marker=_POLICY_MARKERS[policy], linewidth=3, label=f"{name} bits"
            )
            for policy, name in POLICIES.items()
        ]
        legend(figure, [*precision_handles(), *handles])
    return figure


def _dumbbells(panel: Axes, rows: pd.DataFrame, *, has_names: bool, room: float) -> None:
    values = ("accuracy_fp", "accuracy_q", "accuracy_delta", "accuracy_q_low", "accuracy_q_high")
    means = over_seeds(rows, [*CELL, "network", "policy"], values).to_dict("records")
    by_place: dict[tuple[str, str], Row] = {(row["network"], row["policy"]): row for row in means}
    for place, network in enumerate(NETWORKS):
        for offset, policy in zip((-0.26, 0.0, 0.26), POLICIES, strict=True):
            row = by_place.get((network, policy))
            if row is None:
                continue
            y, color = place + offset, _POLICY_COLORS[policy]
            fp, delta = 100 * row["accuracy_fp"], 100 * row["accuracy_delta"]
            dumbbell(panel, y, color=color, marker=_POLICY_MARKERS[policy], fp=fp, delta=delta, size=6)
            low, high = _interval(row)
            if math.isfinite(low):
                panel.plot([low, high], [y, y], color=color, marker="|", linewidth=1.0, markersize=9, zorder=4)
            label = pp(float(row["accuracy_delta"]), digits=1).replace("-", "\N{MINUS SIGN}")
            panel.annotate(
                label, (max(fp, fp + delta), y), (9, 0), textcoords="offset points", va="center_baseline", fontsize=9
            )
    panel.set_yticks(range(len(NETWORKS)), [f"{name}\nnetwork" if has_names else "" for name in NETWORKS.values()])
    panel.set_ylim(len(NETWORKS) - 0.5, -0.5)
    panel.set_xlim(-3, 103 + room)
    panel.set_xticks(range(0, 101, 25))
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("test accuracy (%)")


def _interval(row: Row) -> tuple[float, float]:
    """The spread over seeds where there are several, otherwise the interval over draws, in percent."""
    if row["num_seeds"] > 1:
        return 100 * (row["accuracy_q"] - row["accuracy_q_sd"]), 100 * (row["accuracy_q"] + row["accuracy_q_sd"])
    return 100 * row["accuracy_q_low"], 100 * row["accuracy_q_high"]


def contrast_name(row: Row, suffix: str = "") -> str:
    """Names a contrast shortly, e.g. `resnet18 II-B seed 0`."""
    architecture, option_set, level, _, seed = (row[f"{name}{suffix}"] for name in CONTRAST)
    return f"{architecture} {option_set}-{level} seed {seed}"
