"""The look of all figures, and how they become PNG and SVG: light, dark, and the same bytes every time.

Nothing here keeps pyplot state, so figures can be drawn in any thread. Colours are Okabe and Ito's, which all
kinds of colour vision tell apart; text is sized for a README column of about 900 pixels.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search_spaces.recipes import Goal

INK, MUTED, GRID, FACE = "#1f2328", "#59636e", "#d8dee4", "#ffffff"
ROBUST, DETRIMENTAL, FEASIBLE = "#0072b2", "#d55e00", "#d9f2e8"
COLORS = {Goal.ROBUST: ROBUST, Goal.DETRIMENTAL: DETRIMENTAL}
DARK = {
    INK: "#e6edf3",
    MUTED: "#9aa4af",
    GRID: "#343b44",
    FACE: "#151b23",
    ROBUST: "#56b4e9",
    DETRIMENTAL: "#ff9447",
    FEASIBLE: "#12372b",
}
"""What every colour becomes on the dark theme."""

WIDTH = 9.0
"""Inches; 1350 pixels at 150 dpi, shown at about 900."""
DPI = 150

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": FACE,
    "axes.facecolor": FACE,
    "svg.hashsalt": "dptq-sweep",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.06,
}


@contextmanager
def style() -> Iterator[None]:
    """Applies the look to what is drawn inside."""
    with mpl.rc_context(_STYLE):
        yield


def panels(titles: Sequence[str], *, panel_height: float, title: str) -> tuple[Figure, list[Axes]]:
    """Makes a figure of equal small panels.

    Args:
        titles: One for every panel.
        panel_height: Inches, without the panel's own title, which may have two lines.
        title: What the whole figure shows.
    """
    columns = len(titles) if len(titles) <= 3 else 2 if len(titles) == 4 else 3
    lines = math.ceil(len(titles) / columns)
    if columns == 1:
        titles = [panel_title.replace("\n", ", ") for panel_title in titles]
    title_height = 0.2 + 0.17 * max(panel_title.count("\n") + 1 for panel_title in titles)
    figure = Figure(figsize=(WIDTH, lines * (panel_height + title_height) + 1.25))
    axes = [figure.add_subplot(lines, columns, place + 1) for place in range(len(titles))]
    for panel, panel_title in zip(axes, titles, strict=True):
        panel.set_title(panel_title, fontsize=10.5 if columns < 3 else 9)
        panel.tick_params(length=0)
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold")
    return figure, axes


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Puts one legend for all panels below them."""
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.5)


def png(figure: Figure) -> bytes:
    """Returns a figure as PNG; equal figures give equal bytes."""
    return _saved(figure, "png", {"Software": None})


def svg(figure: Figure) -> bytes:
    """Returns a figure as SVG without a date; equal figures give equal bytes."""
    return _saved(figure, "svg", {"Date": None, "Creator": None})


def dark(picture: bytes) -> bytes:
    """Returns an SVG of this module in the colours of the dark theme."""
    text = picture.decode()
    for light, on_dark in DARK.items():
        text = text.replace(light, on_dark)
    return text.encode()


def _saved(figure: Figure, form: str, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=form, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
