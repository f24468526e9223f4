"""Images that fail only when quantized: table, section and figure of the analysis `adverse_inputs`."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.reports.analyses.registry import AnalysisReport, Tables
from orchestrator.reports.document import Section, pictures
from orchestrator.reports.drawing import INK, file_name, goal_handles, panels, plot_means, style, with_legend
from orchestrator.reports.grouping import CELL, PAIR, Row, cell_title, first_row, of_cell, over_seeds, title_of
from orchestrator.reports.layout import Column, TextTable, cell_table, pct, spread_field
from search_spaces.names import Goal

WHITE_BOX = "white box"
_MEASURED = ("accuracy_fp", "accuracy_q", "hidden")
_AIMS = {
    "quantized": "pixels, hidden at full precision",
    "full_precision": "pixels, at full precision",
    "allocation": "bits of every image",
}


def adverse_summary(adverse_inputs: pd.DataFrame) -> pd.DataFrame:
    """Adds the share of images that fail only when quantized.

    Returns:
        A row per pair or white box, images, aim and radius: `of` (the goal, or `white box`), accuracy_fp, accuracy_q,
        and hidden, the share of images that are right at full precision and wrong quantized.
    """
    is_student = adverse_inputs["network"] == "student"
    table = adverse_inputs.assign(
        of=adverse_inputs["goal"].astype(str).where(is_student, WHITE_BOX),
        hidden=adverse_inputs["num_lost"] / adverse_inputs["num_images"],
    )
    return table[[*PAIR, "of", "images", "aim", "radius", *_MEASURED]]


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of adverse inputs, with a figure of the given cells."""
    summary = tables["adverse_summary"]
    alt = "Share of test images that fail only when quantized, by the levels that a pixel may change."
    return Section(
        title="Adverse inputs",
        statement=adverse_statement(summary, cells),
        caption="Pixels change by whole levels of 255, by gradient descent through ranges and policy. Pairs have their "
        "policy's bits, white boxes uniform bits; where the bits of every image are attacked, each has the worst "
        "allocation of the budget that was found.",
        pictures=pictures((file_name("adverse_inputs"), alt, figure_adverse_inputs(summary, cells))),
        tables=(adverse_text(summary),),
    )


def adverse_statement(summary: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Says how many images fail only when quantized, by themselves and changed by the smallest bound."""
    sentences = []
    for cell in cells:
        of = over_seeds(of_cell(summary, cell), ["of", "aim", "images", "radius"], ("hidden",))
        pixels = of[of["aim"] == "quantized"]
        parts = []
        for name in (WHITE_BOX, *Goal):
            own = pixels[pixels["of"] == name].sort_values("radius")
            if len(own) > 1:
                clean, changed = (float(hidden) for hidden in own["hidden"].head(2))
                parts.append(f"{name} {pct(clean, digits=1)} and {pct(changed, digits=1)} %")
        if parts:
            radius = first_row(pixels[pixels["radius"] > 0].sort_values("radius"))["radius"]
            levels = "level" if radius == 1 else "levels"
            sentences.append(
                f"Images that fail only when quantized, as they are and with pixels changed by {radius} {levels} "
                f"({cell_title(cell)}): {', '.join(parts)}."
            )
    return " ".join(sentences)


def adverse_text(summary: pd.DataFrame) -> TextTable:
    """Lays out accuracies and hidden failures of every pair and white box."""
    means = over_seeds(summary, [*CELL, "of", "aim", "images", "radius"], _MEASURED)
    return cell_table(
        "Accuracy, and images that fail only when quantized, in percent of the images",
        (
            *map(Column.name, ("of", "attacked", "images")),
            *map(Column, ("levels", "FP", "quantized", "only quantized")),
        ),
        means,
        lambda row: (
            str(row["of"]),
            _AIMS[str(row["aim"])],
            str(row["images"]).replace("_", " "),
            str(row["radius"]) if row["aim"] != "allocation" else "",
            *(spread_field(row, name, pct) for name in _MEASURED),
        ),
    )


@style()
def figure_adverse_inputs(summary: pd.DataFrame, cells: Sequence[Row]) -> Figure | None:
    """Draws a panel per cell: hidden failures by radius, of both pairs and of the white box."""
    shown = [rows for cell in cells if len(rows := of_cell(summary, cell))]
    if not shown:
        return None
    titles = [title_of(rows) for rows in shown]
    figure, axes = panels(titles, panel_height=2.4, title="Images that fail only when quantized")
    for place, (panel, rows) in enumerate(zip(axes, shown, strict=True)):
        means = over_seeds(rows[rows["aim"] == "quantized"], [*CELL, "of", "radius"], ("hidden",))
        radii = sorted(set(means["radius"]))
        for goal in Goal:
            curve = means[means["of"] == goal]
            plot_means(panel, map(radii.index, curve["radius"]), curve, "hidden", goal)
        white_box = means[means["of"] == WHITE_BOX]
        panel.plot([radii.index(r) for r in white_box["radius"]], 100 * white_box["hidden"], color=INK, linestyle=":")
        panel.set_xticks(range(len(radii)), [str(radius) for radius in radii])
        panel.set(ylim=(-3, 103), xlabel="levels of 255 (0: unchanged)")
        if place == 0:
            panel.set_ylabel("fail only quantized\n(% of test images)")
    return with_legend(figure, [*goal_handles(), Line2D([], [], color=INK, linestyle=":", label=WHITE_BOX)])


REPORT = AnalysisReport(
    derive=lambda findings: {"adverse_summary": adverse_summary(findings.tables["adverse_inputs"])}, section=section
)
