"""The sections of Tables 2 and 3: what a page says of transitory points and of foreign policies."""

from collections.abc import Mapping, Sequence

import pandas as pd

from orchestrator.reports.drawing import file_name
from orchestrator.reports.fields import cell_columns, cell_fields, has_seeds, number, p_text, spread_field
from orchestrator.reports.format import is_missing, pct, pp
from orchestrator.reports.pair_figures import contrast_name, figure_cross_policy, figure_transitory
from orchestrator.reports.sections import Column, Field, Picture, Section, TextTable, pictures
from orchestrator.reports.seeds import CELL, Row, cell_title, first_row, largest, of_cell, over_seeds
from orchestrator.reports.table3 import NETWORKS, POLICIES

NUM_LISTED = 10
"""Points and overlaps that the page lists; the files beside it hold all."""
_SHARES = ("share", "share_of_both_right")


def transitory_section(transitory: pd.DataFrame, derived: Mapping[str, pd.DataFrame], cells: Sequence[Row]) -> Section:
    """Returns the section of Table 2.

    Args:
        transitory: The table of the analysis, for the images.
        derived: `table2`, `transitory_points` and `transitory_overlaps`, by these names.
        cells: The cells that figures and the list of points show.
    """
    drawn: list[Picture] = []
    for cell in cells:
        name = file_name("transitory", str(cell["architecture"]))
        alt = f"The worst transitory points of {cell_title(cell)}, each with its class and what is seen instead."
        drawn += pictures((name, alt, figure_transitory(of_cell(transitory, cell))))
    tables = [
        table2_text(derived["table2"]),
        _worst_text(derived["transitory_points"], cells),
        _overlap_text(derived["transitory_overlaps"]),
    ]
    return Section(
        title="Table 2: transitory points",
        statement=table2_statement(derived["table2"]),
        caption="A point is transitory if both networks classify it correctly at full precision and the detrimental "
        "one, quantized by its own policy, does not. Intervals are Wilson's, 95 %.",
        pictures=tuple(drawn),
        tables=tuple(table for table in tables if table.rows),
    )


def table2_statement(table2: pd.DataFrame) -> str:
    """Says how many images are transitory."""
    means = over_seeds(table2, CELL, _SHARES)
    most = largest(means, "share")
    text = f"{pct(float(most['share']), digits=1)} % of the test images are transitory for {cell_title(most)}"
    if len(means) > 1:
        least = pct(float(means["share"].min()), digits=1)
        return f"{text}, the most of {len(means)} cells (the least: {least} %)."
    return f"{text}."


def table2_text(table2: pd.DataFrame) -> TextTable:
    """Writes Table 2 down."""
    values = (*_SHARES, *(f"{name}_{end}" for name in _SHARES for end in ("low", "high")), "paper_share")
    means = over_seeds(
        table2.astype({"paper_share": "float64"}), CELL, (*values, "num_transitory", "num_both_right", "num_images")
    )
    with_seeds = has_seeds(means)
    rows = []
    for row in means.to_dict("records"):
        counts = [spread_count(row, name) for name in ("num_transitory", "num_both_right", "num_images")]
        shares = []
        for name in _SHARES:
            low, high = (pct(row[f"{name}_{end}"], digits=1) for end in ("low", "high"))
            shares.append(spread_field(row, name, pct, note=f"{low} to {high}"))
        paper = Field(pct(row["paper_share"]))
        rows.append((*cell_fields(row, with_seeds=with_seeds), *counts, *shares, paper))
    columns = (
        *cell_columns(means),
        *(Column(name, "Images") for name in ("transitory", "both right", "all")),
        *(Column(name, "Transitory (%)") for name in ("of all", "of both right")),
        Column("paper", "Transitory (%)"),
    )
    if means["paper_share"].isna().all():
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return TextTable("", columns, tuple(rows))


def spread_count(row: Row, name: str) -> Field:
    """Writes a count, of several seeds its mean."""
    return Field(number(0 if is_missing(row[f"{name}_sd"]) else 1)(row[name]))


def _worst_text(worst: pd.DataFrame, cells: Sequence[Row]) -> TextTable:
    shown = pd.concat([of_cell(worst, cell) for cell in cells]) if cells else worst.head(0)
    listed = shown.sort_values("margin_q", kind="stable").head(NUM_LISTED)
    columns = (
        Column("pair", is_number=False, wraps=True),
        Column("image"),
        *(Column(name, is_number=False) for name in ("class", "D quantized sees", "R quantized sees")),
        *(Column(name, "Margin") for name in ("D FP", "D quantized", "R quantized")),
        Column("chosen bits", is_number=False, wraps=True),
    )
    rows = tuple(
        (
            Field(contrast_name(row)),
            Field(str(row["image_id"])),
            *(Field(str(row[name])) for name in ("label_name", "prediction_q_name", "prediction_q_robust_name")),
            *(Field(number(3)(row[name])) for name in ("margin_fp", "margin_q", "margin_q_robust")),
            Field(row["bit_widths"]),
        )
        for row in listed.to_dict("records")
    )
    return TextTable(f"The {len(rows)} most wrong of {len(worst)} transitory points", columns, rows)


def _overlap_text(overlaps: pd.DataFrame) -> TextTable:
    most = overlaps.sort_values("jaccard", ascending=False, kind="stable").head(NUM_LISTED)
    columns = (
        *(Column(name, is_number=False, wraps=True) for name in ("pair", "other pair")),
        *(Column(name, "Transitory") for name in ("pair", "other", "both")),
        Column("Jaccard"),
    )
    rows = tuple(
        (
            *(Field(contrast_name(row, suffix)) for suffix in ("_a", "_b")),
            *(Field(str(row[name])) for name in ("num_a", "num_b", "num_shared")),
            Field(number(3)(row["jaccard"])),
        )
        for row in most.to_dict("records")
    )
    return TextTable(f"Shared transitory points: the {len(rows)} largest of {len(overlaps)} overlaps", columns, rows)


def cross_policy_section(table3: pd.DataFrame, cells: Sequence[Row]) -> Section:
    """Returns the section of Table 3.

    Args:
        table3: From `table3`.
        cells: The cells that the figure shows.
    """
    alt = "Test accuracy of every network at full precision and quantized, under both policies and random bits."
    return Section(
        title="Table 3: every network under every policy",
        statement=table3_statement(table3, cells),
        caption="Random bits meet the same budget in every image; their number is the mean over draws with its 95 % "
        "interval. p: McNemar's exact test, full precision against quantized on the same images.",
        pictures=pictures((file_name("cross_policy"), alt, figure_cross_policy(table3, cells))),
        tables=(table3_text(table3),),
    )


def table3_statement(table3: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Says what the detrimental network loses under its own and under other policies, at the worst of the cells."""
    of_cells = [of_cell(table3, cell) for cell in cells]
    shown = pd.concat(of_cells) if of_cells else table3
    detrimental = shown[shown["network"] == "detrimental"]
    means = over_seeds(detrimental, [*CELL, "policy"], ("accuracy_delta",))
    own = means[means["policy"] == "detrimental"]
    if own.empty:
        return ""
    cell = first_row(own.sort_values("accuracy_delta", kind="stable"))
    deltas = {row["policy"]: row["accuracy_delta"] for row in of_cell(means, cell).to_dict("records")}
    others = [
        f"{pp(float(deltas[policy]), digits=1)} pp under {words}"
        for policy, words in (("robust", "the robust policy"), ("random", "random bits"))
        if policy in deltas
    ]
    is_worst = deltas["detrimental"] <= min(deltas.values())
    verb = "loses most under its own policy" if is_worst else "does not lose most under its own policy"
    return (
        f"The detrimental network of {cell_title(cell)} {verb} ({pp(float(deltas['detrimental']), digits=1)} pp)"
        f"{': ' if others else ''}{' and '.join(others)}."
    )


def table3_text(table3: pd.DataFrame) -> TextTable:
    """Writes Table 3 down: a row per cell and network, a group of columns per policy."""
    values = ("accuracy_fp", "accuracy_q", "accuracy_delta", "accuracy_q_low", "accuracy_q_high", "p_value")
    means = over_seeds(table3, [*CELL, "network", "policy"], (*values, "paper_accuracy_q"))
    with_seeds = has_seeds(means)
    rows = []
    for _, of_network in means.groupby([*CELL, "network"], sort=False):
        by_policy = {str(row["policy"]): row for row in of_network.to_dict("records")}
        first = next(iter(by_policy.values()))
        fields = [Field(NETWORKS[str(first["network"])]), spread_field(first, "accuracy_fp", pct)]
        for policy in POLICIES:
            fields += _policy_fields(by_policy.get(policy))
        rows.append((*cell_fields(first, with_seeds=with_seeds), *fields))
    columns = (
        *cell_columns(means),
        Column("role", is_number=False),
        Column("FP"),
        *(Column(name, f"{policy.capitalize()} bits") for policy in POLICIES for name in ("quantized", "delta")),
    )
    paper = "" if means["paper_accuracy_q"].isna().all() else "; beside it the paper's quantized accuracy"
    return TextTable(f"Test accuracy in percent, delta in percentage points{paper}", columns, tuple(rows))


def _policy_fields(row: Row | None) -> tuple[Field, Field]:
    if row is None:
        return Field(""), Field("")
    paper = f"paper: {pct(row['paper_accuracy_q'])}" if not is_missing(row["paper_accuracy_q"]) else ""
    is_one = is_missing(row["accuracy_q_sd"])
    interval = (
        "" if is_missing(row["accuracy_q_low"]) else f"{pct(row['accuracy_q_low'])} to {pct(row['accuracy_q_high'])}"
    )
    quantized = spread_field(row, "accuracy_q", pct, note=interval)
    notes = "\n".join(note for note in (quantized.note, paper) if note)
    return Field(quantized.text, note=notes), spread_field(
        row, "accuracy_delta", pp, note=p_text(row["p_value"]) if is_one else ""
    )
