"""What gives accuracy back: table, section and figure of the analysis `mitigation`."""

import math
from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.reports.analyses.registry import AnalysisReport, Tables
from orchestrator.reports.document import Section, pictures
from orchestrator.reports.drawing import (
    INK,
    file_name,
    goal_handles,
    panels,
    plot_means,
    reference_handles,
    references,
    style,
    with_legend,
)
from orchestrator.reports.grouping import CELL, PAIR, Row, is_missing, largest, of_cell, of_cells, over_seeds, title_of
from orchestrator.reports.layout import Column, TextTable, cell_table, pct, spread_field
from search_spaces.names import Goal
from trainables.assessment.paired import drop_interval

MITIGATIONS = {
    "none": "none",
    "scale_quantile": "scale from a quantile",
    "sites_at_full_precision": "worst sites at full precision",
    "random_sites": "random sites at full precision",
}
_ACCURACIES = ("accuracy_fp", "accuracy_q")
_LINES = {"scale_quantile": "-", "sites_at_full_precision": "-", "random_sites": ":"}
_PANELS = (
    ("scale from a quantile", ("scale_quantile",), "quantile that ends the range"),
    ("sites at full precision", ("sites_at_full_precision", "random_sites"), "sites left at full precision"),
)


def mitigation_summary(mitigation: pd.DataFrame) -> pd.DataFrame:
    """Averages over the draws of every mitigation.

    Returns:
        A row per pair, kind and value: accuracy_fp, accuracy_q (fractions), recovered (share of the drop that is given
        back; missing where the drop is within noise), num_draws, and `sites` as text, 1-based, where the draws agree.
    """
    keys = [*PAIR, "kind", "value"]
    sites = [" ".join(str(site + 1) for site in sites) for sites in mitigation["sites"]]
    table = mitigation.assign(sites=sites).astype({"recovered": "float64"})
    # A share of what is chance has any value, "-360 %" as well.
    table.loc[table["pair_uid"].isin(_within_noise(mitigation)), "recovered"] = math.nan
    groups = table.groupby(keys, sort=False, dropna=False)
    means, num_draws = groups[[*_ACCURACIES, "recovered"]].mean(), groups.size().rename("num_draws")
    return pd.concat([means, num_draws, groups["sites"].agg(_common)], axis=1).reset_index()


def _within_noise(mitigation: pd.DataFrame) -> list[str]:
    """Returns the uids of pairs whose own drop may be none: its paired 95 % interval holds 0."""
    own = mitigation[mitigation["kind"] == "none"]
    counts = own[["pair_uid", "num_images", "num_lost", "num_gained"]].itertuples(index=False)
    return [
        str(uid)
        for uid, images, lost, gained in counts
        if drop_interval(images - lost - gained, lost, gained, 0)[0] <= 0
    ]


def _common(texts: "pd.Series[str]") -> str:
    """What all of them say, otherwise nothing."""
    return str(texts.iloc[0]) if texts.nunique() == 1 else ""


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of the mitigations, with a figure of the given cells."""
    summary = tables["mitigation_summary"]
    alt = "Quantized test accuracy of both pairs by the quantile that sets the scale and by sites at full precision."
    return Section(
        title="Mitigation",
        statement=mitigation_statement(summary, cells),
        caption="The policy's bits stay as they are. Worst sites are ranked on validation by the accuracy with only "
        "that site quantized; random sites are the mean over draws.",
        pictures=pictures((file_name("mitigation"), alt, figure_mitigation(summary, cells))),
        tables=(mitigation_text(summary),),
    )


def mitigation_statement(summary: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Says what each kind of mitigation gives the detrimental network back, at best."""
    shown = of_cells(summary, cells) if cells else summary
    shown = shown[shown["goal"] == Goal.DETRIMENTAL]
    means = over_seeds(shown, ["kind", "value"], ("recovered",)).dropna(subset=["recovered"])
    parts = []
    for kind, words in (
        ("scale_quantile", "scales from a quantile"),
        ("sites_at_full_precision", "the worst sites at full precision"),
        ("random_sites", "random sites at full precision"),
    ):
        of_kind = means[means["kind"] == kind]
        if len(of_kind):
            best = largest(of_kind, "recovered")
            parts.append(f"{words} ({best['value']:g}) {pct(float(best['recovered']), digits=0)} %")
    of_whom = "the detrimental network's drop" if len(cells) < 2 else "the detrimental networks' drops"
    return f"At best, of {of_whom} is given back: {', '.join(parts)}." if parts else ""


def mitigation_text(summary: pd.DataFrame) -> TextTable:
    """Lays out the mitigations of every pair."""
    keys = [*CELL, "goal", "kind", "value"]
    sites = summary.groupby(keys, sort=False, dropna=False)["sites"].agg(_common)
    means = over_seeds(summary, keys, (*_ACCURACIES, "recovered")).merge(sites.reset_index(), how="left", on=keys)
    return cell_table(
        "Test accuracy in percent; the share of the drop that is given back",
        (
            *map(Column.name, ("pair", "mitigation")),
            *map(Column, ("value", "FP", "quantized", "given back (%)")),
            Column.text("sites"),
        ),
        means,
        lambda row: (
            str(row["goal"]),
            MITIGATIONS[str(row["kind"])],
            f"{row['value']:g}" if not is_missing(row["value"]) else "",
            *(spread_field(row, name, pct) for name in _ACCURACIES),
            spread_field(row, "recovered", partial(pct, digits=0)),
            str(row["sites"]),
        ),
    )


@style()
def figure_mitigation(summary: pd.DataFrame, cells: Sequence[Row]) -> Figure | None:
    """Draws what the mitigations give back: two panels per cell, one for quantile scales, one for sites left alone."""
    shown = [rows for cell in cells if len(rows := of_cell(summary, cell))]
    if not shown:
        return None
    titles = [f"{title_of(rows)}\n{name}" for rows in shown for name, _, _ in _PANELS]
    figure, axes = panels(titles, panel_height=2.0, title="What the suggested mitigations give back", columns=2)
    for place, rows in enumerate(shown):
        means = over_seeds(rows, [*CELL, "goal", "kind", "value"], ("accuracy_fp", "accuracy_q"))
        for panel, (_, kinds, label) in zip(axes[2 * place :], _PANELS, strict=False):
            _mitigations(panel, means, kinds)
            panel.set_xlabel(label)
        axes[2 * place].set_ylabel("quantized\ntest accuracy (%)")
    random = Line2D([], [], color=INK, linestyle=":", label="random sites")
    return with_legend(figure, [*goal_handles(), random, *reference_handles()])


def _mitigations(panel: Axes, means: pd.DataFrame, kinds: Sequence[str]) -> None:
    of_kinds = means[means["kind"].isin(kinds)]
    values = sorted(set(of_kinds["value"]), reverse="scale_quantile" in kinds)
    for goal in Goal:
        references(panel, goal, means[(means["goal"] == goal) & (means["kind"] == "none")])
        for kind in kinds:
            curve = of_kinds[(of_kinds["goal"] == goal) & (of_kinds["kind"] == kind)]
            x = map(values.index, curve["value"])
            plot_means(panel, x, curve, "accuracy_q", goal, linestyle=_LINES[kind], zorder=3)
    panel.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    panel.set(xlim=(-0.5, max(len(values), 1) - 0.5), ylim=(-3, 103))


REPORT = AnalysisReport(
    derive=lambda findings: {"mitigation_summary": mitigation_summary(findings.tables["mitigation"])}, section=section
)
