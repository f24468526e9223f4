"""The look of all figures, and how they become PNG and SVG: light, dark, and the same bytes every time.

Nothing here keeps pyplot state, so figures can be drawn in any thread. Colours are Okabe and Ito's, which all
kinds of colour vision tell apart; text is sized for a README column of about 900 pixels.
"""

import io
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from search_spaces.names import Goal

Shown = TypeVar("Shown")
INK, MUTED, GRID, FACE = "#1f2328", "#59636e", "#d8dee4", "#ffffff"
ROBUST, DETRIMENTAL, FEASIBLE = "#0072b2", "#d55e00", "#d9f2e8"
COLORS: dict[str, str] = {Goal.ROBUST: ROBUST, Goal.DETRIMENTAL: DETRIMENTAL}
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
MARKERS: dict[str, str] = {Goal.ROBUST: "o", Goal.DETRIMENTAL: "s"}
DASHES, DOTS = (0, (4, 3)), (0, (1, 2))
WIDTH = 9.0
"""Inches; 1350 pixels at 150 dpi, shown at about 900."""
DPI = 150
MAX_LEGEND_COLUMNS = 5
MOST_PANELS = 60
"""Of one cell each in a figure: the 54 cells of the paper fit. Hundreds take minutes to lay out, and who reads them?"""
_TITLE_CHARACTERS = 78
"""Of a figure's title in one line."""
_CHARACTER = 0.62
"""Mean width of a bold character, in its size."""
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


def fitting(cells: Mapping[str, Shown], title: str) -> tuple[dict[str, Shown], str]:
    """Returns the cells that fit into one figure, and the figure's title, which says so if some do not.

    Args:
        cells: What is shown of each, by the title of its panel.
        title: Of the figure.

    Examples:
        >>> fitting({"I-A": 1, "I-B": 2}, "Training")
        ({'I-A': 1, 'I-B': 2}, 'Training')
        >>> shown, title = fitting({str(cell): cell for cell in range(600)}, "Training")
        >>> len(shown), title
        (60, 'Training (the first 60 of 600 cells)')
    """
    shown = dict(islice(cells.items(), MOST_PANELS))
    return shown, title if len(shown) == len(cells) else f"{title} (the first {len(shown)} of {len(cells)} cells)"


def panels(
    titles: Sequence[str], *, panel_height: float, title: str, columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Makes a figure of equal small panels.

    Args:
        titles: One for every panel.
        panel_height: Inches, without the panel's own title, which may have two lines.
        title: What the whole figure shows.
        columns: Panels side by side; None for up to three of them.
    """
    columns = columns or (len(titles) if len(titles) <= 3 else 2 if len(titles) == 4 else 3)
    lines = math.ceil(len(titles) / columns)
    if columns == 1:
        titles = [panel_title.replace("\n", ", ") for panel_title in titles]
    title_lines = textwrap.wrap(title, _TITLE_CHARACTERS)
    title_height = 0.2 + 0.17 * max(panel_title.count("\n") + 1 for panel_title in titles)
    height = lines * (panel_height + title_height) + 1.02 + 0.23 * len(title_lines)
    figure = Figure(figsize=(WIDTH, height))
    axes = [figure.add_subplot(lines, columns, place + 1) for place in range(len(titles))]
    size = _title_size(titles, columns)
    for panel, panel_title in zip(axes, titles, strict=True):
        panel.set_title(panel_title, fontsize=size)
        panel.tick_params(length=0)
    figure.suptitle("\n".join(title_lines), x=0.012, ha="left", fontsize=13, fontweight="bold")
    return figure, axes


def _title_size(titles: Sequence[str], columns: int) -> float:
    """Returns the size of panel titles in points: smaller where the longest line would leave its panel."""
    longest = max((len(line) for title in titles for line in title.splitlines()), default=1)
    width = 72 * 0.86 * WIDTH / columns
    return min(10.5 if columns < 3 else 9.0, width / (_CHARACTER * max(longest, 1)))


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Puts one legend for all panels below them."""
    lines = math.ceil(len(handles) / MAX_LEGEND_COLUMNS)
    columns = math.ceil(len(handles) / lines)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.5)


def goal_handles() -> list[Line2D]:
    """Legend of the two goals."""
    handle = partial(Line2D, [], [], linewidth=3)
    return [handle(color=COLORS[goal], marker=MARKERS[goal], label=f"{goal} pair") for goal in Goal]


def line_handles() -> list[Line2D]:
    """Legend of the two precisions as lines."""
    handle = partial(Line2D, [], [], color=INK)
    return [handle(linestyle="-", label="full precision"), handle(linestyle="--", label="quantized")]


def precision_handles() -> list[Line2D]:
    """Legend of the two precisions as the ends of a dumbbell."""
    mark = partial(Line2D, [], [], linestyle="", marker="o", markersize=7.5, color=MUTED, markeredgewidth=1.8)
    return [mark(label="full precision"), mark(label="quantized", markerfacecolor=FACE)]


def reference_handles() -> list[Line2D]:
    """Legend of the lines that `references` draws."""
    handle = partial(Line2D, [], [], color=MUTED, linewidth=1.2)
    return [handle(linestyle=DASHES, label="no site quantized"), handle(linestyle=DOTS, label="all sites quantized")]


def references(panel: Axes, goal: Goal, *, accuracy_fp: float, accuracy_q: float) -> None:
    """Draws a pair's accuracy at full precision and fully quantized as horizontal lines, in percent."""
    for accuracy, line in ((accuracy_fp, DASHES), (accuracy_q, DOTS)):
        panel.axhline(100 * accuracy, color=COLORS[goal], linestyle=line, linewidth=1.2, zorder=1)


def band(panel: Axes, x: Iterable[float], mean: Iterable[float], spread: Iterable[float], *, color: str) -> None:
    """Shades one standard deviation over seeds around a curve, in percent; nothing where there is one seed."""
    around = [(100 * (m - s), 100 * (m + s)) for m, s in zip(mean, spread, strict=True)]
    if any(math.isfinite(low) for low, _ in around):
        low, high = zip(*around, strict=True)
        panel.fill_between(list(x), low, high, color=color, alpha=0.18, linewidth=0)


def dumbbell(panel: Axes, y: float, *, color: str, marker: str, fp: float, delta: float, size: float = 7.5) -> None:
    """Draws accuracy from full precision (filled) to quantized (hollow), both in percent."""
    panel.plot([fp, fp + delta], [y, y], color=color, linewidth=0.43 * size, solid_capstyle="butt", zorder=2)
    for x, face in ((fp, color), (fp + delta, FACE)):
        panel.plot(x, y, marker, color=color, markersize=size, markerfacecolor=face, markeredgewidth=1.8, zorder=3)


def file_name(*parts: str) -> str:
    """Names a figure's file after what it shows; timm names may hold characters that files may not.

    Examples:
        >>> file_name("layers", "hf-hub:a/b")
        'figure_layers_hf-hub_a_b'
    """
    return "_".join(["figure", *(re.sub(r"[^\w.-]", "_", part) for part in parts)])


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
        if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
            # Laid out once for both forms: with many panels that takes longer than drawing them.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.savefig(buffer, format=form, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
