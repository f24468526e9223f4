"""The sections of Figure 4, of the cures and of the indicators."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.reports.drawing import file_name
from orchestrator.reports.fields import cell_columns, cell_fields, has_seeds, number, spread_field
from orchestrator.reports.format import is_missing, pct, pp
from orchestrator.reports.sections import Column, Field, Picture, Section, TextTable, pictures
from orchestrator.reports.seeds import CELL, Row, cell_title, first_row, largest, of_cell, over_seeds
from orchestrator.reports.stress_figures import figure_corruptions, figure_indicators, figure_mitigation
from orchestrator.reports.stress_tables import CURES
from search_spaces.recipes import Goal

_ACCURACIES = tuple(f"{goal}_{name}" for goal in Goal for name in ("accuracy_fp", "accuracy_q"))


def corruption_section(summary: pd.DataFrame, curves: pd.DataFrame, cells: Sequence[Row]) -> Section:
    """Returns the section of Figure 4.

    Args:
        summary: From `corruption_summary`.
        curves: From `corruption_curves`.
        cells: The cells that figures and the table by corruption show.
    """
    drawn: list[Picture] = []
    for cell in cells:
        name = file_name("corruptions", str(cell["architecture"]))
        alt = f"Test accuracy of both pairs of {cell_title(cell)} on corrupted images, by degree."
        drawn += pictures((name, alt, figure_corruptions(of_cell(curves, cell))))
    shown = [of_cell(summary, cell) for cell in cells]
    return Section(
        title="Figure 4: corrupted images",
        statement=corruption_statement(summary, cells),
        caption="The policy sees the corrupted image too.",
        pictures=tuple(drawn),
        tables=tuple(
            table
            for table in (
                _corruption_text(pd.concat(shown), "Mean over the degrees of every corruption") if shown else None,
                _corruption_text(overall(summary), "Mean over all corruptions and degrees, every cell"),
            )
            if table and table.rows
        ),
    )


def overall(summary: pd.DataFrame) -> pd.DataFrame:
    """Averages over the corruptions of `corruption_summary`, beside the clean images."""
    kind = summary["corruption"].where(summary["corruption"] == "clean", "all corruptions")
    keys = [*CELL, "seed", "corruption"]
    means = summary.assign(corruption=kind).groupby(keys, sort=False)
    return means[[*_ACCURACIES, "accuracy_fp_difference"]].mean().reset_index()


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
    with_seeds = has_seeds(means)
    rows = tuple(
        (
            *cell_fields(row, with_seeds=with_seeds),
            Field(str(row["corruption"]).replace("_", " ")),
            *(spread_field(row, name, pct) for name in _ACCURACIES),
            spread_field(row, "accuracy_fp_difference", pp),
        )
        for row in means.to_dict("records")
    )
    columns = (
        *cell_columns(means),
        Column("images", is_number=False),
        *(Column(name, goal.capitalize()) for goal in Goal for name in ("FP", "quantized")),
        Column("R - D at FP (pp)"),
    )
    return TextTable(title, columns, rows)


def mitigation_section(summary: pd.DataFrame, cells: Sequence[Row]) -> Section:
    """Returns the section of the cures.

    Args:
        summary: From `mitigation_summary`.
        cells: The cells that the figure shows.
    """
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
    """Says what each kind of cure gives the detrimental network back, at best."""
    shown = pd.concat([of_cell(summary, cell) for cell in cells]) if cells else summary
    shown = shown[shown["goal"] == Goal.DETRIMENTAL]
    means = over_seeds(shown, ["kind", "value"], ("recovered",)).dropna(subset=["recovered"])
    parts = []
    for kind, words in (
        ("scale_quantile", "scales from a quantile ({value:g})"),
        ("sites_at_full_precision", "the worst sites at full precision ({value:g})"),
        ("random_sites", "random sites at full precision ({value:g})"),
    ):
        of_kind = means[means["kind"] == kind]
        if len(of_kind):
            best = largest(of_kind, "recovered")
            share = pct(float(best["recovered"]), digits=0)
            parts.append(f"{words.format(value=best['value'])} {share} %")
    of_whom = "the detrimental network's drop" if len(cells) < 2 else "the detrimental networks' drops"
    return f"At best, of {of_whom} is given back: {', '.join(parts)}." if parts else ""


def mitigation_text(summary: pd.DataFrame) -> TextTable:
    """Writes the cures of every pair down."""
    keys = [*CELL, "goal", "kind", "value"]
    means = over_seeds(summary, keys, ("accuracy_fp", "accuracy_q", "recovered"))
    sites = summary.groupby(keys, sort=False, dropna=False)["sites"].agg(
        lambda s: s.iloc[0] if s.nunique() == 1 else ""
    )
    means = means.merge(sites.reset_index(), how="left", on=keys)
    with_seeds = has_seeds(means)
    rows = tuple(
        (
            *cell_fields(row, with_seeds=with_seeds),
            Field(str(row["goal"])),
            Field(CURES[str(row["kind"])]),
            Field(f"{row['value']:g}" if not is_missing(row["value"]) else ""),
            *(spread_field(row, name, pct) for name in ("accuracy_fp", "accuracy_q")),
            spread_field(row, "recovered", lambda value: pct(value, digits=0)),
            Field(str(row["sites"])),
        )
        for row in means.to_dict("records")
    )
    columns = (
        *cell_columns(means),
        Column("pair", is_number=False),
        Column("cure", is_number=False),
        Column("value"),
        Column("FP"),
        Column("quantized"),
        Column("given back (%)"),
        Column("sites", is_number=False, wraps=True),
    )
    return TextTable("Test accuracy in percent; the share of the drop that is given back", columns, rows)


def indicator_section(found: pd.DataFrame) -> Section:
    """Returns the section of the indicators.

    Args:
        found: From `indicator_correlations`.
    """
    group = main_group(found)
    alt = "Spearman correlation of full-precision signals with the drop, with intervals."
    title = "Spearman correlation with the drop on the test split, 95 % interval by bootstrap over trials"
    return Section(
        title="Indicators",
        statement=indicator_statement(group),
        caption="Signals of the full-precision network on the validation split, over the trials of this sweep.",
        pictures=pictures((file_name("indicators"), alt, figure_indicators(group))),
        tables=(_indicator_text(found, title),),
    )


def main_group(found: pd.DataFrame) -> pd.DataFrame:
    """Returns the correlations over detrimental pairs where there are any, otherwise those over all pairs.

    Over all pairs a signal that merely tells the goals apart correlates too.
    """
    detrimental = found[found["group"] == "detrimental"]
    return detrimental if detrimental["spearman"].notna().any() else found[found["group"] == "all"]


def indicator_statement(group: pd.DataFrame) -> str:
    """Names the signal that goes along with the drop most closely."""
    known = group.dropna(subset=["spearman"])
    if known.empty:
        return f"No signal can be compared with the drop: {group['reason'].iloc[0]}." if len(group) else ""
    best = first_row(known)
    pairs = "detrimental pairs" if best["group"] == "detrimental" else "pairs of both goals"
    is_unclear = best["low"] <= 0 <= best["high"]
    doubt = ", too wide to tell a direction" if is_unclear else ""
    return (
        f"Over {best['num_trials']} {pairs} {str(best['signal']).replace('_', ' ')} goes along with the drop most "
        f"closely: {best['spearman']:.2f} (95 % interval {best['low']:.2f} to {best['high']:.2f}{doubt})."
    )


def _indicator_text(found: pd.DataFrame, title: str) -> TextTable:
    rows = tuple(
        (
            Field(str(row["group"])),
            Field(str(row["signal"]).replace("_", " ")),
            *(Field(number(2)(row[name])) for name in ("spearman", "low", "high")),
            Field(str(row["num_trials"])),
            Field(str(row["reason"])),
        )
        for row in found.to_dict("records")
    )
    columns = (
        Column("pairs", is_number=False),
        Column("signal", is_number=False),
        *(Column(name) for name in ("Spearman", "low", "high", "trials")),
        Column("why none", is_number=False, wraps=True),
    )
    if not found["reason"].any():
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
    return TextTable(title, columns, rows)
