"""At which site accuracy is lost: tables, section and figure of the analysis `layers`."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.reports.document import (
    Column,
    Field,
    Picture,
    Section,
    TextTable,
    cell_columns,
    cell_fields,
    has_seeds,
    pct,
    pictures,
)
from orchestrator.reports.drawing import (
    COLORS,
    INK,
    MARKERS,
    band,
    file_name,
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
    first_row,
    is_missing,
    largest,
    of_cell,
    of_cells,
    over_seeds,
)
from search_spaces.recipes import Goal

MAX_NAMES = 24
"""Sites whose names fit below a panel of half the figure's width."""
_TITLES = {
    "before": "quantized: the sites before",
    "after": "quantized: the sites after",
    "single": "quantized: this site alone",
    "leave_one_out": "quantized: all but this site",
}


def figure_layers(effects: pd.DataFrame) -> Figure | None:
    """Draws a panel per mode and split, with both pairs' curves and the site where the detrimental one falls most.

    Args:
        effects: From `layer_effects`, the rows of one cell: both goals and all seeds, or what there is of them.

    Returns:
        None without any row.
    """
    if effects.empty:
        return None
    by = [*CELL, "goal", "split", "mode", "site", "site_name"]
    curves = over_seeds(effects, by, ("accuracy", "accuracy_fp", "accuracy_q"))
    inflections = worst_sites(effects)
    splits = list(dict.fromkeys(curves["split"]))
    places = list(product([mode for mode in MODES if (curves["mode"] == mode).any()], splits))
    sites = curves.drop_duplicates("site").sort_values("site")
    title = f"Where accuracy is lost: {cell_title(first_row(sites), num_seeds=int(curves['num_seeds'].max()))}"
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


MODES = {"before": "before", "after": "after", "single": "single", "leave_one_out": "leave one out"}
EFFECT = {
    "before": "lost by quantizing this site after all before it",
    "after": "lost by quantizing this site before all after it",
    "single": "lost by quantizing this site alone",
    "leave_one_out": "given back by leaving this site at full precision",
}
_CURVE = ("split", "mode")


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


NUM_WORST = 3
"""Sites per mode that the page lists; the files beside it hold all."""


def layer_section(effects: pd.DataFrame, cells: Sequence[Row]) -> Section:
    """Returns the section of Figure 2.

    Args:
        effects: From `layer_effects`.
        cells: The cells that figures show.
    """
    drawn: list[Picture] = []
    for cell in cells:
        name = file_name("layers", str(cell["architecture"]))
        alt = f"Accuracy of both pairs of {cell_title(cell)} with only some sites quantized, by site."
        drawn += pictures((name, alt, figure_layers(of_cell(effects, cell))))
    words = "; ".join(f"{MODES[mode]}: {text}" for mode, text in EFFECT.items())
    return Section(
        title="Figure 2: where accuracy is lost",
        statement=layer_statement(effects, cells),
        caption=f"The marked site moves the detrimental curve most. Effect of a site, by mode: {words}.",
        pictures=tuple(drawn),
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


def inflection_text(effects: pd.DataFrame) -> TextTable:
    """Lists by cell and goal the sites with the largest effect of each mode, on the test split if there is one."""
    split = "test" if (effects["split"] == "test").any() else str(effects["split"].iloc[0])
    ranked = worst_sites(effects[effects["split"] == split], num_sites=NUM_WORST)
    with_seeds = has_seeds(ranked)
    rows = []
    for _, of_pair in ranked.groupby([*CELL, "goal"], sort=False):
        first = first_row(of_pair)
        fields = [Field(str(first["goal"])), *(_mode_field(of_pair[of_pair["mode"] == mode]) for mode in MODES)]
        rows.append((*cell_fields(first, with_seeds=with_seeds), *fields))
    columns = (
        *cell_columns(ranked),
        Column("pair", is_number=False),
        *(
            Column(name, "Site with the largest effect (pp), and the next", is_number=False, wraps=True)
            for name in MODES.values()
        ),
    )
    return TextTable(f"Inflection sites, {split} split", columns, tuple(rows))


def _mode_field(ranked: pd.DataFrame) -> Field:
    if ranked.empty:
        return Field("")
    texts = []
    for row in ranked.to_dict("records"):
        spread = "" if is_missing(row["effect_sd"]) else f" \N{PLUS-MINUS SIGN} {pct(row['effect_sd'], digits=1)}"
        texts.append(f"{row['site'] + 1} {row['site_name']}: {pct(row['effect'], digits=1)}{spread}")
    return Field(texts[0], note="\n".join(texts[1:]))


def _effect_of(effects: pd.DataFrame, site: Row, mode: str) -> float | None:
    same = of_cell(effects, site)
    same = same[(same["mode"] == mode) & (same["goal"] == site["goal"]) & (same["split"] == site["split"])]
    same = same[same["site"] == site["site"]]
    return None if same.empty else float(same["effect"].mean())
