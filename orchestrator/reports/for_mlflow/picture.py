"""A pair at a glance: how its accuracies went while it was trained, and the bits that its policy gives the sites."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from orchestrator.reports.drawing import COLORS, line_handles, panels, png, style, with_legend
from orchestrator.results.trials import Curve, curve_of, predictions_of
from orchestrator.store.trial import TrialFolder
from search_spaces.names import Goal

# B = images, L = sites.


def draw_pair(trial: TrialFolder) -> bytes | None:
    """Returns a picture of a pair that is done, as PNG; None where neither epochs nor allocations are known."""
    record, curve, bit_width_BL = trial.recipe(), curve_of(trial), _allocations(trial)
    if record is None or (curve is None and bit_width_BL is None):
        return None
    goal = Goal(record.recipe["goal"])
    with style():
        titles = ["validation accuracy after every epoch", "bits per site on the test images"]
        figure, (left, right) = panels(titles, panel_height=2.4, title=record.name)
        _draw_curve(left, curve, goal)
        _draw_sites(right, bit_width_BL, goal)
        return png(with_legend(figure, line_handles()))


def _draw_curve(panel: Axes, curve: Curve | None, goal: Goal) -> None:
    if curve is not None:
        for values, line in ((curve.accuracy_fp, "-"), (curve.accuracy_q, "--")):
            panel.plot(curve.epochs, [100 * value for value in values], linestyle=line, color=COLORS[goal])
    panel.set(ylim=(-3, 103), xlabel="epoch", ylabel="accuracy (%)")
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _draw_sites(panel: Axes, bit_width_BL: np.ndarray | None, goal: Goal) -> None:
    """Draws the mean over images, and from the least to the most that an image gets."""
    if bit_width_BL is not None:
        sites = np.arange(bit_width_BL.shape[1])
        panel.vlines(sites, bit_width_BL.min(0), bit_width_BL.max(0), color=COLORS[goal], alpha=0.35, linewidth=4)
        panel.plot(sites, bit_width_BL.mean(0), "o", color=COLORS[goal], markersize=4)
    panel.set(xlabel="site (mean; least and most of an image)", ylabel="bits")
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))


def _allocations(trial: TrialFolder) -> np.ndarray | None:
    """Returns the bits of every site and test image, [B, L]; None where the predictions do not say."""
    table = predictions_of(trial, {"bit_width"})
    return np.stack(table["bit_width"].to_numpy()) if table is not None and len(table) else None
