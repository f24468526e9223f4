"""At which site accuracy is lost: tables, section and figure of the analysis `layers`."""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.reports.analyses.registry import AnalysisReport, Findings, Tables
from orchestrator.reports.document import Section, cell_pictures
from orchestrator.reports.drawing import (
    INK,
    MARKERS,
    goal_handles,
    panels,
    plot_means,
    reference_handles,
    references,
    style,
    with_legend,
)
from orchestrator.reports.grouping import (
    CELL,
    PAIR,
    SITE,
    Row,
    cell_title,
    is_missing,
    largest,
    of_cell,
    of_cells,
    over_seeds,
    sorted_within,
    title_of,
)
from orchestrator.reports.layout import Column, Field, TextTable, cell_table, pct, site_text
from orchestrator.search.pair_choice import NORMAL_95
from search_spaces.names import Goal

MODES = {"before": "before", "after": "after", "single": "single", "leave_one_out": "leave one out"}
EFFECT = {
    "before": "lost by quantizing this site after all before it",
    "after": "lost by quantizing this site before all after it",
    "single": "lost by quantizing this site alone",
    "leave_one_out": "given back by leaving this site at full precision",
}
MAX_NAMES = 24
"""Sites whose names fit below a panel of half the figure's width."""
NUM_WORST = 3
"""Sites per mode that the page lists; the files beside it hold all."""
_CURVE = ("split", "mode")
_TITLES = {
    "before": "quantized: the sites before",
    "after": "quantized: the sites after",
    "single": "quantized: this site alone",
    "leave_one_out": "quantized: all but this site",
}


def derive(findings: Findings) -> dict[str, pd.DataFrame]:
    """Computes what every site costs, and which cost most."""
    effects = layer_effects(findings.tables["layers"])
    return {"layer_effects": effects, "layer_inflections": worst_sites(effects)}


def layer_effects(layers: pd.DataFrame) -> pd.DataFrame:
    """Says for every site what quantizing it does to each mode's curve.

    `before` at a site quantizes the sites before it, so that what the site itself costs is the step to the next site of
    the curve, and to the fully quantized accuracy behind the last; `after` is its mirror image. `single` costs its
    distance from full precision; `leave_one_out` gives back its distance from fully quantized.

    Returns:
        The same rows with `effect`, a fraction, positive where the site does harm.
    """
    table = layers.sort_values("site", kind="stable")
    curve = table.groupby([*PAIR, *_CURVE], sort=False)["accuracy"]
    effects = {
        "before": table["accuracy"] - curve.shift(-1).fillna(table["accuracy_q"]),
        "after": table["accuracy"] - curve.shift(1).fillna(table["accuracy_q"]),
        "single": table["accuracy_fp"] - table["accuracy"],
        "leave_one_out": table["accuracy"] - table["accuracy_q"],
    }
    effect = np.select([table["mode"] == mode for mode in effects], list(effects.values()), math.nan)
    return table.assign(effect=effect).sort_index()


def worst_sites(effects: pd.DataFrame, *, num_sites: int = 1) -> pd.DataFrame:
    """Picks the sites with the largest effects of every curve; the first of them is its inflection.

    Returns:
        By cell, goal, split and mode a row per rank (from 1): site (from 0), site_name, and the means over seeds of
        effect, accuracy, accuracy_fp and accuracy_q with their `_sd`; num_seeds. Of equal effects the earlier site.
    """
    by = [*CELL, "goal", *_CURVE]
    means = over_seeds(effects, [*by, *SITE], ("effect", "accuracy", "accuracy_fp", "accuracy_q"))
    ordered = sorted_within(sorted_within(means, by, "site"), by, "effect", descending=True)
    ranked = ordered.assign(rank=ordered.groupby(by, sort=False).cumcount() + 1)
    return ranked[ranked["rank"] <= num_sites].reset_index(drop=True)


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of Figure 2, with figures of the given cells."""
    effects = tables["layer_effects"]
    words = "; ".join(f"{MODES[mode]}: {text}" for mode, text in EFFECT.items())
    return Section(
        title="Figure 2: where accuracy is lost",
        statement=layer_statement(effects, cells),
        caption=f"The marked site moves the detrimental curve most, beyond noise. Effect of a site, by mode: {words}.",
        pictures=cell_pictures(
            "layers",
            "Accuracy of both pairs of {cell} with only some sites quantized, by site.",
            cells,
            lambda cell: figure_layers(of_cell(effects, cell)),
        ),
        tables=(inflection_text(effects),),
    )


def layer_statement(effects: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Names the site of the shown cells that gives most back when it alone stays at full precision.

    Leaving one out asks what the failure cannot do without. Other modes see a site without those that go with it.
    """
    given = of_cells(effects, cells)
    given = given[(given["mode"] == "leave_one_out") & (given["goal"] == Goal.DETRIMENTAL)]
    split = "test" if (given["split"] == "test").any() else None
    most = worst_sites(given[given["split"] == split] if split else given)
    if most.empty:
        return ""
    worst = largest(most, "effect")
    network, same = f"the detrimental network of {cell_title(worst)}", of_cell(effects, worst, "goal", "split", "site")
    if not is_beyond_noise(same[same["mode"] == "leave_one_out"]):
        return f"No single site holds the drop of {network}: none gives more back than noise when it is left out."
    drop = pct(float(worst["accuracy_fp"]) - float(worst["accuracy_q"]), digits=1)
    alone = pct(float(same.loc[same["mode"] == "single", "effect"].mean()), digits=1)
    return (
        f"Left at full precision, site {worst['site'] + 1} ({worst['site_name']}) gives {network} back "
        f"{pct(float(worst['effect']), digits=1)} of {drop} pp" + (f"; alone it costs {alone} pp." if alone else ".")
    )


def is_beyond_noise(rows: pd.DataFrame) -> bool:
    """Tells whether the mean effect of a site in one mode, over seeds, is above the 95 % interval of no effect.

    Both accuracies are taken as of different images, since nothing counted the images that change sides between them:
    wider than the paired interval, so that what passes is no chance.
    """
    sign = rows["mode"].map({"single": 1.0}).fillna(-1.0)
    both = [rows["accuracy"], (rows["accuracy"] + sign * rows["effect"]).clip(0.0, 1.0)]
    variance = sum((each * (1 - each) / rows["num_images"]).sum() for each in both) / len(rows) ** 2
    return bool(rows["effect"].mean() > NORMAL_95 * math.sqrt(variance))


def inflection_text(effects: pd.DataFrame, *, is_short: bool = False) -> TextTable:
    """Lists the sites with the largest effect of each mode, on the test split if there is one.

    `is_short`, for a terminal: the first site of detrimental pairs only, otherwise the first few of all pairs.
    """
    split = "test" if (effects["split"] == "test").any() else str(effects["split"].iloc[0])
    shown = effects[(effects["split"] == split) & (effects["goal"].eq(Goal.DETRIMENTAL) | (not is_short))]
    ranked = worst_sites(shown, num_sites=1 if is_short else NUM_WORST)
    effect = "" if is_short else "Site with the largest effect (pp), and the next"
    return cell_table(
        f"Inflection sites, {split} split",
        (Column.name("pair", is_detail=True), *(Column.text(name, effect) for name in MODES.values())),
        ranked.groupby([*CELL, "goal"], sort=False).head(1),
        lambda first: (str(first["goal"]), *_mode_fields(of_cell(ranked, first, "goal"))),
        heading=f"Sites with the largest effect on the detrimental pair, {split} split, pp",
    )


def _mode_fields(ranked: pd.DataFrame) -> Iterator[Field]:
    for mode in MODES:
        texts = [_effect_text(row) for row in ranked[ranked["mode"] == mode].to_dict("records")]
        yield Field("".join(texts[:1]), note="\n".join(texts[1:]))


def _effect_text(row: Row) -> str:
    spread = "" if is_missing(row["effect_sd"]) else f" \N{PLUS-MINUS SIGN} {pct(row['effect_sd'], digits=1)}"
    return f"{site_text(row)}: {pct(row['effect'], digits=1)}{spread}"


@style()
def figure_layers(effects: pd.DataFrame) -> Figure | None:
    """Draws a panel per mode and split: the curves of one cell and the site where the detrimental one falls most."""
    if effects.empty:
        return None
    curves = over_seeds(effects, [*CELL, "goal", *_CURVE, *SITE], ("accuracy", "accuracy_fp", "accuracy_q"))
    inflections = worst_sites(effects)
    splits = list(dict.fromkeys(curves["split"]))
    places = list(product([mode for mode in MODES if (curves["mode"] == mode).any()], splits))
    sites = curves.drop_duplicates("site").sort_values("site")
    title = f"Where accuracy is lost: {title_of(curves)}"
    titles = [f"{_TITLES[mode]}, {split}" for mode, split in places]
    figure, axes = panels(titles, panel_height=1.75, title=title, columns=len(splits))
    for number, (panel, (mode, split)) in enumerate(zip(axes, places, strict=True)):
        here, found = (table[(table["mode"] == mode) & (table["split"] == split)] for table in (curves, inflections))
        _curves(panel, here)
        _mark_inflection(panel, found, effects, num_sites=len(sites))
        is_last_line = number >= len(places) - len(splits)
        _name_sites(panel, list(sites["site_name"]), has_names=is_last_line)
        if number % len(splits) == 0:
            panel.set_ylabel("accuracy (%)")
    return with_legend(figure, [*goal_handles(), *reference_handles()])


def _curves(panel: Axes, curves: pd.DataFrame) -> None:
    for goal in Goal:
        curve = curves[curves["goal"] == goal].sort_values("site")
        if curve.empty:
            continue
        references(panel, goal, curve)
        marker = MARKERS[goal] if len(curve) <= MAX_NAMES else ""
        look = {"marker": marker, "linewidth": 1.6, "markersize": 3.5, "zorder": 3}
        plot_means(panel, curve["site"] + 1, curve, "accuracy", goal, **look)
    panel.set(ylim=(-4, 122), yticks=range(0, 101, 25))


def _mark_inflection(panel: Axes, found: pd.DataFrame, effects: pd.DataFrame, *, num_sites: int) -> None:
    """Marks the site that moves the detrimental curve most, where that is more than noise."""
    harmful = found[found["goal"] == Goal.DETRIMENTAL]
    keys = ("goal", *_CURVE, "site")
    if harmful.empty or not is_beyond_noise(of_cell(effects, next(iter(harmful.to_dict("records"))), *keys)):
        return
    site = int(harmful["site"].iloc[0]) + 1
    panel.axvline(site, ymax=0.84, color=INK, linewidth=1.0, zorder=2)
    is_right = site > num_sites / 2
    panel.annotate(
        f"site {site}: {harmful['site_name'].iloc[0]}", (site, 118), (3 if is_right else -3, 0),
        textcoords="offset points", va="top", ha="right" if is_right else "left", fontsize=8.5, fontweight="bold",
    )  # fmt: skip


def _name_sites(panel: Axes, names: Sequence[str], *, has_names: bool) -> None:
    numbers = range(1, len(names) + 1)
    if len(names) <= MAX_NAMES:
        texts = [f"{number} {name}" if has_names else str(number) for number, name in zip(numbers, names, strict=True)]
        panel.set_xticks(numbers, texts, rotation=90 if has_names else 0, fontsize=7.5)
    else:
        panel.set_xticks([1, *range(10, len(names) + 1, 10)])
        if has_names:
            panel.set_xlabel("site, in the order of execution")
    panel.set_xlim(0.4, len(names) + 0.6)


REPORT = AnalysisReport(
    derive=derive, section=section, overview=lambda tables: inflection_text(tables["layer_effects"], is_short=True)
)
