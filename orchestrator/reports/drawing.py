"""The look of all figures, and how they become PNG and SVG: light, dark, and the same bytes every time.

Nothing here keeps pyplot state, so figures can be drawn in any thread. Colours are Okabe and Ito's, which all
kinds of colour vision tell apart; text is sized for a README column of about 900 pixels.
"""

import io
import logging
import math
import re
import textwrap
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from typing import Any, TypeVar

import matplotlib as mpl
import pandas as pd
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text

from search_spaces.names import Goal

logger = logging.getLogger(__name__)
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
FONT, BOX = "DejaVu Sans", "\u25a1"
"""Comes with matplotlib; and what stands for a character that no font has."""
_STYLE: dict[Any, Any] = {
    "font.family": FONT,
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
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def style() -> Iterator[None]:
    """Applies the look to what is drawn inside; one thread at a time, since matplotlib keeps it for all."""
    with _ONE_AT_A_TIME, mpl.rc_context(_STYLE):
        yield


def fitting(cells: Mapping[str, Shown], title: str) -> tuple[dict[str, Shown], str]:
    """Returns the cells that fit into one figure, by panel title, and the figure's title, which tells of any left out.

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
    """Makes a figure of equal small panels, up to three side by side unless `columns` says how many.

    `panel_height` is in inches, without the panel's own title, which may have two lines.
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
    # Smaller where the longest line would leave its panel.
    longest = max((len(line) for panel_title in titles for line in panel_title.splitlines()), default=1)
    size = min(10.5 if columns < 3 else 9.0, 72 * 0.86 * WIDTH / columns / (_CHARACTER * longest))
    for panel, panel_title in zip(axes, titles, strict=True):
        panel.set_title(panel_title, fontsize=size)
        panel.tick_params(length=0)
    figure.suptitle("\n".join(title_lines), x=0.012, ha="left", fontsize=13, fontweight="bold")
    return figure, axes


def with_legend(figure: Figure, handles: Sequence[Artist]) -> Figure:
    """Puts one legend for all panels below them."""
    lines = math.ceil(len(handles) / MAX_LEGEND_COLUMNS)
    columns = math.ceil(len(handles) / lines)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.5)
    return figure


def goal_handles() -> list[Line2D]:
    """Legend of the two goals."""
    return [
        Line2D([], [], linewidth=3, color=COLORS[goal], marker=MARKERS[goal], label=f"{goal} pair") for goal in Goal
    ]


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


def references(panel: Axes, goal: Goal, rows: pd.DataFrame) -> None:
    """Draws a pair's accuracy at full precision and fully quantized as horizontal lines, as its first row has it."""
    for name, line in (("accuracy_fp", DASHES), ("accuracy_q", DOTS)):
        for accuracy in rows[name].head(1):
            panel.axhline(100 * accuracy, color=COLORS[goal], linestyle=line, linewidth=1.2, zorder=1)


def plot_means(panel: Axes, x: Iterable[float], rows: pd.DataFrame, name: str, goal: Goal, **look: Any) -> None:
    """Draws a curve of means over seeds in percent; where there are several, one standard deviation around it, too."""
    mean, spread, places = rows[name], rows[f"{name}_sd"], list(x)
    if spread.notna().any():
        low, high = 100 * (mean - spread), 100 * (mean + spread)
        panel.fill_between(places, low, high, color=COLORS[goal], alpha=0.18, linewidth=0)
    panel.plot(places, 100 * mean, **{"color": COLORS[goal], "marker": MARKERS[goal], **look})


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
    return re.sub("|".join(DARK), lambda light: DARK[light[0]], picture.decode()).encode()


def _saved(figure: Figure, form: str, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    with style():
        _choose_fonts(figure)
        if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
            # Laid out once for both forms: with many panels that takes longer than drawing them.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.savefig(buffer, format=form, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def _choose_fonts(figure: Figure) -> None:
    """Gives texts with characters that the usual font lacks other fonts as well; what no font has becomes a box."""
    for axis in (axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)):
        labels = axis.get_ticklabels()
        if True in [_choose_font(label) for label in labels]:
            # Ticks write their labels again whenever they are drawn.
            axis.set_ticks(axis.get_majorticklocs(), labels=[label.get_text() for label in labels])
    for text in figure.findobj(Text):
        _choose_font(text)


def _choose_font(text: Text) -> bool:
    """Tells whether a text needed another font or a box."""
    usual = text.get_fontproperties().copy()
    usual.set_family(FONT)
    lacking = {*text.get_text()} - _characters(font_manager.findfont(usual)) - {"\n"}
    if not lacking:
        return False
    others = _fonts_with(frozenset(lacking))
    text.set_fontfamily([FONT, *others])
    for name in others:
        # A font may have fewer characters in bold.
        usual.set_family(name)
        lacking -= _characters(font_manager.findfont(usual))
    if lacking:
        # matplotlib would warn at every one of them.
        text.set_text("".join(BOX if character in lacking else character for character in text.get_text()))
        _say_lacking(min(lacking))
    return True


@cache
def _fonts_with(lacking: frozenset[str]) -> tuple[str, ...]:
    """Returns names of fonts that have some characters between them."""
    chosen, rest = [], set(lacking)
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.weight != 400, font.name)):
        # Last Resort draws a box for everything.
        if rest and "Last Resort" not in font.name and (more := rest & _characters(font.fname)):
            chosen.append(font.name)
            rest -= more
    return tuple(chosen)


@cache
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (RuntimeError, OSError):
        return frozenset()


_said_lacking: list[str] = []


def _say_lacking(character: str) -> None:
    """Says once per process that figures show boxes."""
    if not _said_lacking:
        logger.warning(
            "figures show boxes: no font of this machine has %s (U+%04X) and its like; install Noto Sans CJK or such",
            *(character, ord(character)),
        )
    _said_lacking.append(character)
