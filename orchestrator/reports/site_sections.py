"""The sections of Figures 2 and 3: where along the depth accuracy is lost, and what happens to activations there."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.reports.drawing import file_name
from orchestrator.reports.fields import cell_columns, cell_fields, has_seeds, number, spread_field
from orchestrator.reports.format import is_missing, pct, pp
from orchestrator.reports.histogram_figures import figure_histograms
from orchestrator.reports.layer_figures import figure_layers
from orchestrator.reports.sections import Column, Field, Picture, Section, TextTable, pictures
from orchestrator.reports.seeds import CELL, Row, cell_title, first_row, largest, of_cell, over_seeds
from orchestrator.reports.site_tables import EFFECT, HISTOGRAM_VALUES, MODES, worst_sites
from search_spaces.recipes import Goal

NUM_WORST = 3
"""Sites per mode that the page lists; the files beside it hold all."""
NUM_CHANGED = 5


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
    before = _of_cells(effects, cells)
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


def histogram_section(
    histograms: pd.DataFrame, summary: pd.DataFrame, correlations: pd.DataFrame, cells: Sequence[Row]
) -> Section:
    """Returns the section of Figure 3.

    Args:
        histograms: The table of the analysis, for the figures.
        summary: From `histogram_summary`.
        correlations: From `collapse_correlations`.
        cells: The cells that figures and the list of sites show.
    """
    drawn: list[Picture] = []
    for cell in cells:
        for goal in Goal:
            name = file_name("histograms", str(cell["architecture"]), goal)
            alt = f"Activations of the {goal} network of {cell_title(cell)} by site, at full precision and quantized."
            drawn += pictures((name, alt, figure_histograms(of_cell(histograms, cell), goal)))
    shown = _of_cells(summary, cells)
    return Section(
        title="Figure 3: what happens to activations",
        statement=histogram_statement(shown, correlations, cells),
        caption="Share of the values in each bin; the bin that holds 0 is left out and its share printed. SQNR "
        "compares the quantized with the full-precision pass, errors of earlier sites included.",
        pictures=tuple(drawn),
        tables=(_changed_text(shown), collapse_text(correlations)),
    )


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
    means = over_seeds(correlations, [*CELL, "goal"], ("spearman", "num_sites"))
    with_seeds = has_seeds(means)
    rows = []
    for row in means.to_dict("records"):
        sd = "" if is_missing(row["spearman_sd"]) else f"\N{PLUS-MINUS SIGN} {row['spearman_sd']:.2f}"
        fields = (
            Field(str(row["goal"])),
            Field(number(0)(row["num_sites"])),
            Field(number(2)(row["spearman"]), note=sd),
        )
        rows.append((*cell_fields(row, with_seeds=with_seeds), *fields))
    columns = (*cell_columns(means), Column("pair", is_number=False), Column("sites"), Column("Spearman"))
    return TextTable("Growth of zeros against the drop of the single site", columns, tuple(rows))


def _changed_text(shown: pd.DataFrame) -> TextTable:
    by = [*CELL, "goal", "site", "site_name"]
    means = over_seeds(shown, by, HISTOGRAM_VALUES)
    ranked = means.assign(size=means["zero_change"].abs(), pair=means.groupby([*CELL, "goal"], sort=False).ngroup())
    ranked = ranked.sort_values(["pair", "size"], ascending=[True, False], kind="stable")
    most = ranked.groupby("pair").head(NUM_CHANGED)
    with_seeds = has_seeds(most)
    rows = tuple(
        (
            *cell_fields(row, with_seeds=with_seeds),
            Field(str(row["goal"])),
            Field(f"{row['site'] + 1} {row['site_name']}"),
            *(spread_field(row, name, pct) for name in ("zero_fp", "zero_q")),
            spread_field(row, "zero_change", pp),
            *(Field(number(1)(row[name])) for name in ("kurtosis_fp", "kurtosis_q", "sqnr_db")),
            spread_field(row, "single_drop", pct),
        )
        for row in most.to_dict("records")
    )
    columns = (
        *cell_columns(most),
        Column("pair", is_number=False),
        Column("site", is_number=False),
        *(Column(name, "Zeros (%)") for name in ("FP", "quantized", "change")),
        *(Column(name, "Kurtosis") for name in ("FP", "quantized")),
        Column("SQNR"),
        Column("alone (pp)"),
    )
    return TextTable(
        f"The {NUM_CHANGED} sites of a network whose share of zeros changes most; SQNR in dB; "
        "alone: the drop with only that site quantized",
        columns,
        rows,
    )


def _of_cells(table: pd.DataFrame, cells: Sequence[Row]) -> pd.DataFrame:
    return pd.concat([of_cell(table, cell) for cell in cells]) if cells else table.head(0)
