"""The section about companions: what an answer depends on the images that share its batch."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.reports.document import Section, pictures
from orchestrator.reports.drawing import DASHES, DETRIMENTAL, INK, ROBUST, file_name, panels, style, with_legend
from orchestrator.reports.layout import Column, Field, TextTable, filled, interval_text, pct, text_table
from orchestrator.results.assessments import COMPANIONS, Found

_SINGLE = ("padding", "real", "optimized")
"""Companions that are one image for all."""
_CAPTION = (
    "Ranges are over the batch, as in ONNX Runtime. Drops and flips are against the same bits with every image alone. "
    "Padding, real and optimized companions share a batch of two with every test image. Real ones are validation "
    "images, half of them the loudest; optimized ones have valid pixels. The worst for all images was chosen on "
    "validation images, the worst for each image on that image."
)
_MARKERS = {"padding": ("v", 1.8), "real": ("D", 2.0), "optimized": ("*", 2.25)}
"""How the companions of a batch of two are drawn, and where, so that none covers another."""


def companion_section(found: Found) -> Section:
    """Returns the section, empty where companions were not measured."""
    table = found.tables.get(COMPANIONS)
    if table is None:
        return Section(title="Batch-mates")
    name = found.assessment.model.architecture
    alt = f"Accuracy of {name} by the number of images that share a batch, and beside the worst companions."
    return Section(
        title="Batch-mates",
        statement=" ".join(companion_sentences(found)),
        caption=_CAPTION,
        pictures=pictures((file_name("companions", name), alt, figure_companions(found))),
        tables=filled(companions_table(table)),
    )


def companion_sentences(found: Found) -> list[str]:
    """Says of every allocation whether a companion was shown to be dangerous; nothing where none was measured."""
    table = found.tables.get(COMPANIONS)
    if table is None:
        return []
    totals = table["budget"].drop_duplicates().tolist()
    return [_sentence(table[table["budget"] == total], total, found.assessment.num_sites) for total in totals]


def _sentence(rows: pd.DataFrame, total: int, num_sites: int) -> str:
    single = rows[rows["companion"].isin(_SINGLE) & ~_is_for_each(rows)]
    worst, each = single.loc[single["drop"] == single["drop"].max()].iloc[0], rows[_is_for_each(rows)].iloc[0]
    place = f"At {total / num_sites:.3g} bits per site"
    measured = (
        f"the worst single companion ({worst['companion']}, {worst['which']}) costs {pct(worst['drop'], digits=1)} pp "
        f"({interval_text(worst['drop_low'], worst['drop_high'])}) and flips {pct(worst['flips'], digits=1)} %"
    )
    others = f"some real companion flips {pct(each['flips'], digits=1)} % of the images"
    if worst["drop_low"] > 0:
        return f"{place} {measured}; {others}."
    return f"{place} no danger was shown: {measured}; {others}."


def companions_table(table: pd.DataFrame) -> TextTable:
    """Lays out what was measured, a row per companion and allocation."""
    columns = (
        Column("Bits"),
        Column.name("companion"),
        Column.text("which"),
        Column("batch"),
        Column("accuracy"),
        Column("drop"),
        Column("flips"),
    )
    rows = (
        (
            str(row["budget"]),
            str(row["companion"]),
            str(row["which"]),
            str(row["batch_size"]),
            Field(pct(row["accuracy"], digits=1), note=_draws(row)),
            Field(pct(row["drop"], digits=1), note=interval_text(row["drop_low"], row["drop_high"])),
            Field(pct(row["flips"], digits=1), note=interval_text(row["flips_low"], row["flips_high"])),
        )
        for row in table.to_dict("records")
    )
    images = int(table["num_images"].max())
    return text_table(
        "Percent of the test images", columns, rows, heading=f"Batch-mates: {images} test images, percent"
    )


def figure_companions(found: Found) -> Figure:
    """Draws accuracy by batch size, a panel per allocation, with the worst companions of a batch of two."""
    table, num_sites = found.tables[COMPANIONS], found.assessment.num_sites
    groups = [(total, table[table["budget"] == total]) for total in table["budget"].drop_duplicates().tolist()]
    titles = [f"{total} bits, {total / num_sites:.3g} per site" for total, _ in groups]
    with style():
        title = f"{found.assessment.model.architecture}: who shares the batch"
        figure, axes = panels(titles, panel_height=2.4, title=title)
        for panel, (_, rows) in zip(axes, groups, strict=True):
            by_size = rows[rows["companion"].isin(("alone", "batch"))]
            sizes = by_size["batch_size"].to_numpy()
            low, high = 100 * by_size["accuracy_low"], 100 * by_size["accuracy_high"]
            panel.fill_between(sizes, low, high, color=ROBUST, alpha=0.18, linewidth=0)
            panel.plot(sizes, 100 * by_size["accuracy"], color=ROBUST, marker="o")
            panel.axhline(100 * by_size["accuracy"].iloc[0], color=INK, linestyle=DASHES, linewidth=1.1, zorder=1)
            for kind, (marker, place) in _MARKERS.items():
                if len(own := rows[rows["companion"] == kind]):
                    panel.plot(place, 100 * own["accuracy"].min(), marker, color=DETRIMENTAL, markersize=8, zorder=3)
            panel.set_xscale("log", base=2)
            panel.set(xlabel="images in the batch", ylabel="accuracy (%)", ylim=(-3, 104))
            panel.set_xticks(sizes, [str(size) for size in sizes])
        handles = [
            Line2D([], [], color=ROBUST, marker="o", label="random images"),
            Line2D([], [], color=INK, linestyle=DASHES, label="alone"),
            *(
                Line2D([], [], color=DETRIMENTAL, marker=marker, linestyle="", label=f"worst {kind}")
                for kind, (marker, _) in _MARKERS.items()
            ),
        ]
        return with_legend(figure, handles)


def _is_for_each(rows: pd.DataFrame) -> "pd.Series[bool]":
    return rows["which"].str.endswith("for each image")


def _draws(row: Mapping[Any, Any]) -> str:
    return f"worst of {row['draws']} {pct(row['worst_draw_accuracy'], digits=1)}" if row["draws"] > 1 else ""
