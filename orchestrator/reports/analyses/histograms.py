"""What happens to activations: tables, section and figures of the analysis `histograms`."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from orchestrator.reports.analyses.registry import AnalysisReport, Findings, Tables
from orchestrator.reports.document import Section, pictures
from orchestrator.reports.drawing import COLORS, GRID, MUTED, file_name, legend, panels, style
from orchestrator.reports.grouping import (
    CELL,
    PAIR,
    SITE,
    Row,
    cell_title,
    largest,
    of_cell,
    of_cells,
    over_seeds,
    title_of,
)
from orchestrator.reports.layout import (
    Column,
    TextTable,
    cell_table,
    number,
    pct,
    pp,
    site_text,
    spread_field,
)
from search_spaces.analyses import Histograms
from search_spaces.names import Goal

HISTOGRAM_VALUES = ("zero_fp", "zero_q", "zero_change", "kurtosis_fp", "kurtosis_q", "sqnr_db", "single_drop")
NUM_CHANGED = 5
MAX_SITES = 20
"""Panels of one figure; networks with more sites show those whose share of zeros changes most."""
_COLUMNS = 5
_BINS_SHOWN = 60
_HIDDEN_MASS = 0.002
"""Share of the values that may lie outside a panel, half of it on either side."""
_CLIP = 2.5
"""A quantized peak is cut off at so many times the highest full-precision bin."""
_SETTINGS = Histograms()


def derive(findings: Findings) -> dict[str, pd.DataFrame]:
    """Condenses the histograms and compares them with the drops of single sites, where `layers` is done."""
    summary = histogram_summary(findings.tables["histograms"], findings.tables.get("layer_effects"))
    return {"histogram_summary": summary, "collapse_correlations": collapse_correlations(summary)}


def histogram_summary(histograms: pd.DataFrame, effects: pd.DataFrame | None) -> pd.DataFrame:
    """Condenses the histograms of every site.

    Args:
        histograms: The table of the analysis.
        effects: From `layer_effects`, for the drop of the single site on the test split; None leaves it missing.

    Returns:
        A row per pair and site: site (from 0), site_name, zero_fp and zero_q (share of values in the bin that holds
        0, the paper's sparsity measure), zero_change, kurtosis_fp, kurtosis_q, sqnr_db, single_drop (fraction).
    """
    columns = [*PAIR, *SITE, "zero_fp", "zero_q", "kurtosis_fp", "kurtosis_q", "sqnr_db"]
    summary = histograms[columns].copy()
    summary.insert(len(PAIR) + 4, "zero_change", summary["zero_q"] - summary["zero_fp"])
    if effects is None:
        return summary.assign(single_drop=float("nan"))
    single = effects[(effects["mode"] == "single") & (effects["split"] == "test")]
    drops = single[[*PAIR, "site", "effect"]].rename(columns={"effect": "single_drop"})
    return summary.merge(drops, how="left", on=[*PAIR, "site"])


def collapse_correlations(summary: pd.DataFrame) -> pd.DataFrame:
    """Correlates over sites how much of an activation collapses to zero with what quantizing that site alone costs.

    Args:
        summary: From `histogram_summary`.

    Returns:
        A row per pair: num_sites with both numbers, and Spearman's correlation; missing below three sites or where
        one of the two is constant.
    """
    rows = []
    for key, sites in summary.groupby(list(PAIR), sort=False):
        both = sites[["zero_change", "single_drop"]].dropna()
        is_defined = len(both) > 2 and (both.nunique() > 1).all()
        spearman = scipy.stats.spearmanr(both).statistic if is_defined else float("nan")
        rows.append((*key, len(both), spearman))
    return pd.DataFrame(rows, columns=[*PAIR, "num_sites", "spearman"])


def most_changed_sites(summary: pd.DataFrame, *, num_sites: int) -> Sequence[int]:
    """Returns the sites whose share of zeros changes most, in the order of execution."""
    changes = summary.assign(size=summary["zero_change"].abs()).groupby("site")["size"].max()
    return sorted(changes.sort_values(ascending=False, kind="stable").index[:num_sites])


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of Figure 3, with figures and a list of sites of the given cells."""
    histograms, correlations = tables["histograms"], tables["collapse_correlations"]
    shown = of_cells(tables["histogram_summary"], cells)
    return Section(
        title="Figure 3: what happens to activations",
        statement=histogram_statement(shown, correlations, cells),
        caption="Share of the values in each bin; the bin that holds 0 is left out and its share printed. SQNR "
        "compares the quantized with the full-precision pass, errors of earlier sites included.",
        pictures=pictures(*(_drawn(histograms, cell, goal) for cell in cells for goal in Goal)),
        tables=(_changed_text(shown), collapse_text(correlations)),
    )


def _drawn(histograms: pd.DataFrame, cell: Row, goal: Goal) -> tuple[str, str, Figure | None]:
    alt = f"Activations of the {goal} network of {cell_title(cell)} by site, at full precision and quantized."
    name = file_name("histograms", str(cell["architecture"]), goal)
    return name, alt, figure_histograms(of_cell(histograms, cell), goal)


def histogram_statement(shown: pd.DataFrame, correlations: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Says where zeros increase most, and whether that goes along with the drop of the single site."""
    detrimental = shown[shown["goal"] == Goal.DETRIMENTAL]
    if detrimental.empty:
        return ""
    means = over_seeds(detrimental, [*CELL, "goal", "site", "site_name"], HISTOGRAM_VALUES)
    most = largest(means, "zero_change")
    before, after = (pct(float(most[name]), digits=0) for name in ("zero_fp", "zero_q"))
    text = (
        f"In the detrimental network of {cell_title(most)} the share of zeros grows most at site {most['site'] + 1} "
        f"({most['site_name']}), from {before} to {after} %"
    )
    found = of_cell(correlations, most)
    found = found[found["goal"] == Goal.DETRIMENTAL].dropna(subset=["spearman"])
    if found.empty:
        return f"{text}."
    value, num_sites = float(found["spearman"].mean()), int(found["num_sites"].max())
    return (
        f"{text}; over its {num_sites} sites that growth and the drop of the site alone correlate at {value:.2f} "
        "(Spearman)."
    )


def collapse_text(correlations: pd.DataFrame) -> TextTable:
    """Writes down for every pair how closely the growth of zeros goes along with the drop of the single site."""
    write = number(2)
    return cell_table(
        "Growth of zeros against the drop of the single site",
        (Column.name("pair"), Column("sites"), Column("Spearman")),
        over_seeds(correlations, [*CELL, "goal"], ("spearman", "num_sites")),
        lambda row: (
            str(row["goal"]),
            number(0)(row["num_sites"]),
            spread_field(row, "spearman", write, write_spread=write),
        ),
    )


def _changed_text(shown: pd.DataFrame) -> TextTable:
    means = over_seeds(shown, [*CELL, "goal", "site", "site_name"], HISTOGRAM_VALUES)
    ranked = means.assign(size=means["zero_change"].abs(), pair=means.groupby([*CELL, "goal"], sort=False).ngroup())
    ranked = ranked.sort_values(["pair", "size"], ascending=[True, False], kind="stable")
    return cell_table(
        f"The {NUM_CHANGED} sites of a network whose share of zeros changes most; SQNR in dB; "
        "alone: the drop with only that site quantized",
        (
            *map(Column.name, ("pair", "site")),
            *(Column(name, "Zeros (%)") for name in ("FP", "quantized", "change")),
            *(Column(name, "Kurtosis") for name in ("FP", "quantized")),
            *map(Column, ("SQNR", "alone (pp)")),
        ),
        ranked.groupby("pair").head(NUM_CHANGED),
        lambda row: (
            str(row["goal"]),
            site_text(row),
            *(spread_field(row, name, pct) for name in ("zero_fp", "zero_q")),
            spread_field(row, "zero_change", pp),
            *(number(1)(row[name]) for name in ("kurtosis_fp", "kurtosis_q", "sqnr_db")),
            spread_field(row, "single_drop", pct),
        ),
    )


def figure_histograms(histograms: pd.DataFrame, goal: Goal) -> Figure | None:
    """Draws a panel per site of one cell in the order of execution: full precision as an area, quantized as a line.

    As in the paper the bin that holds 0 is left out and the rest is renormalized; its share of the values, the
    sparsity measure, is printed before and after quantization. Seeds are averaged.
    """
    rows = histograms[histograms["goal"] == goal]
    if rows.empty:
        return None
    rows = rows.assign(zero_change=rows["zero_q"] - rows["zero_fp"])
    num_sites = rows["site"].nunique()
    sites = most_changed_sites(rows, num_sites=MAX_SITES)
    which = f"; {len(sites)} of {num_sites} sites, those that change most" if len(sites) < num_sites else ""
    title = f"Activations, {goal}: {title_of(rows)}{which}"
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


REPORT = AnalysisReport(derive=derive, section=section)
