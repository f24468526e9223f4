"""Figure 3: activations of every site, before and after quantization, without the bin that holds 0."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from orchestrator.reports.drawing import COLORS, GRID, MUTED, legend, panels, style
from orchestrator.reports.format import pct
from orchestrator.reports.seeds import cell_title, first_row
from orchestrator.reports.site_tables import most_changed_sites
from search_spaces.analyses import Histograms
from search_spaces.recipes import Goal

MAX_SITES = 20
"""Panels of one figure; networks with more sites show those whose share of zeros changes most."""
_COLUMNS = 5
_BINS_SHOWN = 60
_HIDDEN_MASS = 0.002
"""Share of the values that may lie outside a panel, half of it on either side."""
_CLIP = 2.5
"""A quantized peak is cut off at so many times the highest full-precision bin."""
_SETTINGS = Histograms()


def figure_histograms(histograms: pd.DataFrame, goal: Goal) -> Figure | None:
    """Draws a panel per site in the order of execution: full precision as an area, quantized as a line.

    As in the paper the bin that holds 0 is left out and the rest is renormalized; its share of the values, the
    sparsity measure, is printed before and after quantization.

    Args:
        histograms: The table of the analysis, the rows of one cell; seeds are averaged.
        goal: Whose network to draw.

    Returns:
        None without any row of this goal.
    """
    rows = histograms[histograms["goal"] == goal]
    if rows.empty:
        return None
    rows = rows.assign(zero_change=rows["zero_q"] - rows["zero_fp"])
    num_sites = rows["site"].nunique()
    sites = most_changed_sites(rows, num_sites=MAX_SITES)
    which = f"; {len(sites)} of {num_sites} sites, those that change most" if len(sites) < num_sites else ""
    num_seeds = rows["seed"].nunique()
    title = f"Activations, {goal}: {cell_title(first_row(rows), num_seeds=num_seeds)}{which}"
    with style():
        of_site = [rows[rows["site"] == site] for site in sites]
        titles = [f"{site + 1} {of['site_name'].iloc[0]}" for site, of in zip(sites, of_site, strict=True)]
        figure, axes = panels(titles, panel_height=1.05, title=title, columns=_COLUMNS)
        for panel, of in zip(axes, of_site, strict=True):
            _panel(panel, of, color=COLORS[goal])
        legend(
            figure,
            [
                Patch(color=GRID, label="full precision"),
                Line2D([], [], color=COLORS[goal], label="quantized"),
                Line2D([], [], linestyle="", label="0: share of values in the bin around 0, before \u2192 after"),
            ],
        )
    return figure


def without_zero_bin(counts: np.ndarray) -> np.ndarray:
    """Leaves out the bin that holds 0 and renormalizes; all zeros where nothing else is left."""
    kept = counts.astype(np.float64)
    kept[zero_bin(len(kept))] = 0.0
    total = kept.sum()
    return kept / total if total else kept


def zero_bin(num_bins: int) -> int:
    """Returns the index of the bin that holds 0."""
    return math.floor(-_SETTINGS.low / (_SETTINGS.high - _SETTINGS.low) * num_bins)


def _panel(panel: Axes, rows: pd.DataFrame, *, color: str) -> None:
    full, quantized = (
        np.mean([without_zero_bin(np.asarray(counts)) for counts in rows[f"counts_{precision}"]], axis=0)
        for precision in ("fp", "q")
    )
    edges = np.linspace(_SETTINGS.low, _SETTINGS.high, len(full) + 1)
    start, stop = _shown_range(full + quantized)
    step = max(1, math.ceil((stop - start) / _BINS_SHOWN))
    starts = np.arange(start, stop, step)
    shown_edges = edges[np.minimum(np.append(starts, starts[-1] + step), len(full))]
    full, quantized = (np.add.reduceat(values[:stop], starts) for values in (full, quantized))
    panel.stairs(full, shown_edges, fill=True, color=GRID)
    panel.stairs(quantized, shown_edges, color=color, linewidth=1.0)
    highest = max(min(quantized.max(), _CLIP * full.max()), full.max())
    panel.set_ylim(0, 1.45 * highest if highest else 1)
    panel.set_yticks([])
    panel.set_xlim(shown_edges[0], shown_edges[-1])
    panel.locator_params(axis="x", nbins=4)
    panel.tick_params(axis="x", labelsize=7)
    change = " \u2192 ".join(pct(float(rows[name].mean()), digits=0) for name in ("zero_fp", "zero_q"))
    panel.text(0.98, 0.95, f"0: {change} %", transform=panel.transAxes, ha="right", va="top", fontsize=7.5)
    if not full.any():
        panel.text(0.5, 0.4, "nothing but 0", transform=panel.transAxes, ha="center", fontsize=7.5, color=MUTED)


def _shown_range(mass: np.ndarray) -> tuple[int, int]:
    """Returns the bins, first and behind the last, that hold nearly all of the mass, and 0."""
    zero = zero_bin(len(mass))
    if not mass.any():
        return zero - 10, zero + 11
    share = np.cumsum(mass) / mass.sum()
    start, stop = np.searchsorted(share, [_HIDDEN_MASS / 2, 1 - _HIDDEN_MASS / 2])
    return min(int(start), zero), min(max(int(stop) + 1, zero + 1), len(mass))
