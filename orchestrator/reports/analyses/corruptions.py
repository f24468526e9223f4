"""Accuracy on corrupted images: tables, section and figure of the analysis `corruptions`."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from orchestrator.reports.analyses.registry import AnalysisReport, Findings, Tables
from orchestrator.reports.document import Section, cell_pictures
from orchestrator.reports.drawing import COLORS, MARKERS, band, goal_handles, legend, line_handles, panels, style
from orchestrator.reports.grouping import CELL, CONTRAST, Row, cell_title, of_cell, of_cells, over_seeds, title_of
from orchestrator.reports.layout import Column, TextTable, cell_table, pct, pp, spread_field
from search_spaces.names import Goal

MEASURED = ("accuracy_fp", "accuracy_q")
_ACCURACIES = tuple(f"{goal}_{name}" for goal in Goal for name in MEASURED)


def derive(findings: Findings) -> dict[str, pd.DataFrame]:
    """Averages over the degrees of every corruption, and over seeds."""
    corruptions = findings.tables["corruptions"]
    return {
        "corruption_summary": corruption_summary(corruptions),
        "corruption_curves": corruption_curves(corruptions),
    }


def corruption_summary(corruptions: pd.DataFrame) -> pd.DataFrame:
    """Averages over the degrees of every corruption and compares the two goals.

    Args:
        corruptions: The table of the analysis; rows of degree 0 are the clean images.

    Returns:
        A row per contrast and corruption (`clean` first): accuracy_fp and accuracy_q of the robust and of the
        detrimental network as `robust_accuracy_fp` and so on, and accuracy_fp_difference, robust minus detrimental;
        missing where only one of them was measured.
    """
    named = corruptions.assign(corruption=corruptions["corruption"].mask(corruptions["degree"] == 0, "clean"))
    named = pd.concat([named[named["degree"] == 0], named[named["degree"] > 0]])
    keys = [*CONTRAST, "corruption"]
    means = named.groupby([*keys, "goal"], sort=False)[list(MEASURED)].mean().reset_index()
    summary = means[keys].drop_duplicates().reset_index(drop=True)
    for goal in ("robust", "detrimental"):
        of_goal = means[means["goal"] == goal].rename(columns={name: f"{goal}_{name}" for name in MEASURED})
        summary = summary.merge(of_goal.drop(columns="goal"), how="left", on=keys)
    order = summary.groupby(list(CONTRAST), sort=False).ngroup()
    summary = summary.loc[order.sort_values(kind="stable").index].reset_index(drop=True)
    difference = summary["robust_accuracy_fp"] - summary["detrimental_accuracy_fp"]
    return summary.assign(accuracy_fp_difference=difference)


def corruption_curves(corruptions: pd.DataFrame) -> pd.DataFrame:
    """Returns accuracy by degree, mean over seeds, with the clean images as degree 0 of every corruption."""
    clean = corruptions[corruptions["degree"] == 0]
    others = corruptions[corruptions["degree"] > 0]
    kinds = list(dict.fromkeys(others["corruption"]))
    shared = [clean.assign(corruption=kind) for kind in kinds]
    every = pd.concat([*shared, others]) if shared else others
    curves = over_seeds(every, [*CELL, "goal", "corruption", "degree"], MEASURED)
    return curves.sort_values("degree", kind="stable").reset_index(drop=True)


def overall(summary: pd.DataFrame) -> pd.DataFrame:
    """Averages over the corruptions of `corruption_summary`, beside the clean images."""
    kind = summary["corruption"].where(summary["corruption"] == "clean", "all corruptions")
    keys = [*CELL, "seed", "corruption"]
    means = summary.assign(corruption=kind).groupby(keys, sort=False)
    return means[[*_ACCURACIES, "accuracy_fp_difference"]].mean().reset_index()


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of Figure 4, with figures and a table by corruption of the given cells."""
    summary, curves = tables["corruption_summary"], tables["corruption_curves"]
    listed = (
        _corruption_text(of_cells(summary, cells), "Mean over the degrees of every corruption"),
        _corruption_text(overall(summary), "Mean over all corruptions and degrees, every cell"),
    )
    return Section(
        title="Figure 4: corrupted images",
        statement=corruption_statement(summary, cells),
        caption="The policy sees the corrupted image too.",
        pictures=cell_pictures(
            "corruptions",
            "Test accuracy of both pairs of {cell} on corrupted images, by degree.",
            cells,
            lambda cell: figure_corruptions(of_cell(curves, cell)),
        ),
        tables=tuple(table for table in listed if table.rows),
    )


def corruption_statement(summary: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Says whether the robust network also stands corruption better."""
    sentences = []
    for cell in cells:
        rows = overall(of_cell(summary, cell)).dropna(subset=["accuracy_fp_difference"])
        means = rows.groupby("corruption")["accuracy_fp_difference"].mean()
        if "all corruptions" in means:
            clean = f" (on clean ones {pp(float(means['clean']), digits=1)} pp)" if "clean" in means else ""
            gain = pp(float(means["all corruptions"]), digits=1)
            sentences.append(f"{gain} pp{clean} for {cell_title(cell)}")
    if not sentences:
        return ""
    return f"On corrupted images at full precision, robust minus detrimental network is {'; '.join(sentences)}."


def _corruption_text(summary: pd.DataFrame, title: str) -> TextTable:
    means = over_seeds(summary, [*CELL, "corruption"], (*_ACCURACIES, "accuracy_fp_difference"))
    return cell_table(
        title,
        (
            Column.name("images"),
            *(Column(name, goal.capitalize()) for goal in Goal for name in ("FP", "quantized")),
            Column("R - D at FP (pp)"),
        ),
        means,
        lambda row: (
            str(row["corruption"]).replace("_", " "),
            *(spread_field(row, name, pct) for name in _ACCURACIES),
            spread_field(row, "accuracy_fp_difference", pp),
        ),
    )


def figure_corruptions(curves: pd.DataFrame) -> Figure | None:
    """Draws a panel per corruption of one cell: accuracy by degree, both pairs, at full precision and quantized."""
    if curves.empty:
        return None
    kinds = list(dict.fromkeys(curves["corruption"]))
    title = f"Corrupted test images: {title_of(curves)}"
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


REPORT = AnalysisReport(derive=derive, section=section)
