"""At which site accuracy is lost: tables, section and figure of the analysis `layers`."""

from collections.abc import Iterator, Sequence
from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.reports.analyses.registry import AnalysisReport, Findings, Tables
from orchestrator.reports.document import Section, cell_pictures
from orchestrator.reports.drawing import (
    COLORS,
    INK,
    MARKERS,
    band,
    goal_handles,
    legend,
    panels,
    reference_handles,
    references,
    style,
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
    title_of,
)
from orchestrator.reports.layout import Column, Field, TextTable, cell_table, pct, site_text
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

    Args:
        layers: The table of the analysis.

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
    effect = pd.Series(float("nan"), index=table.index)
    for mode, values in effects.items():
        effect[table["mode"] == mode] = values
    return table.assign(effect=effect).sort_index()


def worst_sites(effects: pd.DataFrame, *, num_sites: int = 1) -> pd.DataFrame:
    """Picks the sites with the largest effects of every curve; the first of them is its inflection.

    Args:
        effects: From `layer_effects`.
        num_sites: How many per curve.

    Returns:
        By cell, goal, split and mode a row per rank (from 1): site (from 0), site_name, and the means over seeds of
        effect, accuracy, accuracy_fp and accuracy_q with their `_sd`; num_seeds. Of equal effects the earlier site.
    """
    by = [*CELL, "goal", *_CURVE]
    means = over_seeds(effects, [*by, *SITE], ("effect", "accuracy", "accuracy_fp", "accuracy_q"))
    ordered = means.sort_values(["effect", "site"], ascending=[False, True], kind="stable")
    ranked = ordered.assign(rank=ordered.groupby(by, sort=False).cumcount() + 1)
    picked = ranked[ranked["rank"] <= num_sites]
    order = means.groupby(by, sort=False).ngroup()
    return picked.assign(order=order).sort_values(["order", "rank"]).drop(columns="order").reset_index(drop=True)


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of Figure 2, with figures of the given cells."""
    effects = tables["layer_effects"]
    words = "; ".join(f"{MODES[mode]}: {text}" for mode, text in EFFECT.items())
    return Section(
        title="Figure 2: where accuracy is lost",
        statement=layer_statement(effects, cells),
        caption=f"The marked site moves the detrimental curve most. Effect of a site, by mode: {words}.",
        pictures=cell_pictures(
            "layers",
            "Accuracy of both pairs of {cell} with only some sites quantized, by site.",
            cells,
            lambda cell: figure_layers(of_cell(effects, cell)),
        ),
        tables=(inflection_text(effects),),
    )


def layer_statement(effects: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Names the inflection site of the shown cell that loses most there."""
    before = of_cells(effects, cells)
    before = before[(before["mode"] == "before") & (before["goal"] == Goal.DETRIMENTAL)]
    split = "test" if (before["split"] == "test").any() else None
    inflections = worst_sites(before[before["split"] == split] if split else before)
    if inflections.empty:
        return ""
    worst = largest(inflections, "effect")
    if not worst["effect"] > 0:
        return f"No single step of the detrimental network of {cell_title(worst)} costs accuracy."
    alone = _effect_of(effects, worst, "single")
    text = "" if alone is None else f"; quantized alone it costs {pct(alone, digits=1)} pp"
    return (
        f"The detrimental network of {cell_title(worst)} loses most at site {worst['site'] + 1} "
        f"({worst['site_name']}): {pct(float(worst['effect']), digits=1)} pp once all sites before it are "
        f"quantized{text}."
    )


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


def _effect_of(effects: pd.DataFrame, site: Row, mode: str) -> float | None:
    same = of_cell(effects, site, "goal", "split", "site")
    same = same[same["mode"] == mode]
    return None if same.empty else float(same["effect"].mean())


def figure_layers(effects: pd.DataFrame) -> Figure | None:
    """Draws a panel per mode and split: the curves of one cell and the site where the detrimental one falls most."""
    if effects.empty:
        return None
    by = [*CELL, "goal", "split", "mode", "site", "site_name"]
    curves = over_seeds(effects, by, ("accuracy", "accuracy_fp", "accuracy_q"))
    inflections = worst_sites(effects)
    splits = list(dict.fromkeys(curves["split"]))
    places = list(product([mode for mode in MODES if (curves["mode"] == mode).any()], splits))
    sites = curves.drop_duplicates("site").sort_values("site")
    title = f"Where accuracy is lost: {title_of(curves)}"
    with style():
        titles = [f"{_TITLES[mode]}, {split}" for mode, split in places]
        figure, axes = panels(titles, panel_height=1.75, title=title, columns=len(splits))
        for number, (panel, (mode, split)) in enumerate(zip(axes, places, strict=True)):
            here = (curves["mode"] == mode) & (curves["split"] == split)
            _curves(panel, curves[here])
            found = inflections[(inflections["mode"] == mode) & (inflections["split"] == split)]
            _mark_inflection(panel, found, num_sites=len(sites))
            is_last_line = number >= len(places) - len(splits)
            _name_sites(panel, list(sites["site_name"]), has_names=is_last_line)
            if number % len(splits) == 0:
                panel.set_ylabel("accuracy (%)")
        legend(figure, [*goal_handles(), *reference_handles()])
    return figure


def _curves(panel: Axes, curves: pd.DataFrame) -> None:
    for goal in Goal:
        curve = curves[curves["goal"] == goal].sort_values("site")
        if curve.empty:
            continue
        x = [site + 1 for site in curve["site"]]
        first = curve.iloc[0]
        references(panel, goal, accuracy_fp=first["accuracy_fp"], accuracy_q=first["accuracy_q"])
        band(panel, x, curve["accuracy"], curve["accuracy_sd"], color=COLORS[goal])
        panel.plot(
            x,
            100 * curve["accuracy"],
            marker=MARKERS[goal] if len(x) <= MAX_NAMES else "",
            color=COLORS[goal],
            linewidth=1.6,
            markersize=3.5,
            zorder=3,
        )
    panel.set_ylim(-4, 122)
    panel.set_yticks(range(0, 101, 25))


def _mark_inflection(panel: Axes, found: pd.DataFrame, *, num_sites: int) -> None:
    of_goal = found[found["goal"] == Goal.DETRIMENTAL]
    if of_goal.empty or not of_goal["effect"].iloc[0] > 0:
        return
    site, name = int(of_goal["site"].iloc[0]) + 1, of_goal["site_name"].iloc[0]
    panel.axvline(site, ymax=0.84, color=INK, linewidth=1.0, zorder=2)
    is_right = site > num_sites / 2
    label = f"site {site}: {name}"
    panel.annotate(
        label, (site, 118), (3 if is_right else -3, 0), textcoords="offset points", va="top",
        ha="right" if is_right else "left", fontsize=8.5, fontweight="bold",
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
