"""Network, policy or match: Table 3, its section and its figure."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.reports.analyses.registry import AnalysisReport, Tables
from orchestrator.reports.document import Section, pictures
from orchestrator.reports.drawing import (
    COLORS,
    MARKERS,
    MUTED,
    dumbbell,
    file_name,
    panels,
    precision_handles,
    style,
    with_legend,
)
from orchestrator.reports.grouping import (
    CELL,
    CONTRAST,
    Row,
    cell_title,
    first_row,
    is_missing,
    of_cell,
    of_cells,
    over_seeds,
    title_of,
)
from orchestrator.reports.layout import (
    Column,
    Field,
    TextTable,
    cell_table,
    interval_text,
    p_text,
    pct,
    pp,
    spread_field,
    with_note,
)
from orchestrator.results.statistics import mcnemar_p, mean_interval
from search_spaces.paper import TABLE_3, TABLE_3_CELL, is_cell

NETWORKS = {"white_box": "white box", "robust": "robust", "detrimental": "detrimental"}
POLICIES = ("robust", "detrimental", "random")
_POLICY_COLORS: dict[str, str] = {**COLORS, "random": MUTED}
_POLICY_MARKERS: dict[str, str] = {**MARKERS, "random": "D"}


def table3(cross_policy: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Summarizes the draws of every contrast, network and policy.

    Returns:
        A row per contrast, network and policy: accuracy_fp, accuracy_q and accuracy_delta (fractions, means over
        draws), num_draws, accuracy_q_low and accuracy_q_high (95 % interval of the mean over draws; missing for a
        learned policy, which has one draw), p_value (McNemar, FP against quantized on the same images; learned
        policies only), and paper_accuracy_q.
    """
    rows = []
    keys = [*CONTRAST, "network", "policy"]
    for key, draws in cross_policy.groupby(keys, sort=False):
        row: dict[Hashable, object] = dict(zip(keys, key, strict=True))
        over_draws = mean_interval(draws["accuracy_q"].tolist())
        is_learned = row["policy"] != "random"
        first = draws.iloc[0]
        row |= {
            "accuracy_fp": float(draws["accuracy_fp"].mean()),
            "accuracy_q": over_draws.mean,
            "accuracy_delta": float(draws["accuracy_delta"].mean()),
            "num_draws": len(draws),
            "accuracy_q_low": over_draws.low,
            "accuracy_q_high": over_draws.high,
            "p_value": mcnemar_p(int(first["num_lost"]), int(first["num_gained"])) if is_learned else None,
            "paper_accuracy_q": _paper_accuracy_q(row, dataset),
        }
        rows.append(row)
    return pd.DataFrame(rows).astype({"p_value": "float64", "paper_accuracy_q": "float64"})


def _paper_accuracy_q(row: Row, dataset: str) -> float | None:
    cell = [row[name] for name in CELL]
    if not is_cell(dataset, *cell) or tuple(cell[:3]) != TABLE_3_CELL:
        return None
    return round(TABLE_3[str(row["network"]), str(row["policy"])] / 100, 6)


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of Table 3, with a figure of the given cells."""
    table3 = tables["table3"]
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
    shown = of_cells(table3, cells) if cells else table3
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
    verb = "loses most" if deltas["detrimental"] <= min(deltas.values()) else "does not lose most"
    return (
        f"The detrimental network of {cell_title(cell)} {verb} under its own policy "
        f"({pp(float(deltas['detrimental']), digits=1)} pp){': ' if others else ''}{' and '.join(others)}."
    )


def table3_text(table3: pd.DataFrame) -> TextTable:
    """Lays out Table 3: a row per cell and network, a group of columns per policy."""
    values = ("accuracy_fp", "accuracy_q", "accuracy_delta", "accuracy_q_low", "accuracy_q_high", "p_value")
    means = over_seeds(table3, [*CELL, "network", "policy"], (*values, "paper_accuracy_q"))
    paper = "" if means["paper_accuracy_q"].isna().all() else "; beside it the paper's quantized accuracy"
    of_policy = (Column("quantized", is_detail=True), Column("delta"))
    return cell_table(
        f"Test accuracy in percent, delta in percentage points{paper}",
        (
            Column.name("role"),
            Column("FP"),
            *(replace(each, group=f"{policy.capitalize()} bits") for policy in POLICIES for each in of_policy),
        ),
        means.groupby([*CELL, "network"], sort=False).head(1),
        lambda first: (
            NETWORKS[str(first["network"])],
            spread_field(first, "accuracy_fp", pct),
            *_policy_fields(of_cell(means, first, "network")),
        ),
        heading="Table 3: test accuracy in percent, delta in pp under each policy's bits",
    )


def _policy_fields(of_network: pd.DataFrame) -> Iterator[Field]:
    by_policy = {str(row["policy"]): row for row in of_network.to_dict("records")}
    for policy in POLICIES:
        if policy not in by_policy:
            yield from (Field(""), Field(""))
            continue
        row = by_policy[policy]
        interval = interval_text(row["accuracy_q_low"], row["accuracy_q_high"], digits=2)
        paper = pct(row["paper_accuracy_q"])
        yield with_note(spread_field(row, "accuracy_q", pct, note=interval), paper and f"paper: {paper}")
        yield spread_field(row, "accuracy_delta", pp, note=p_text(row["p_value"]))


@style()
def figure_cross_policy(table3: pd.DataFrame, cells: Sequence[Row]) -> Figure | None:
    """Draws Table 3 as dumbbells, a panel per cell: every network from full precision to quantized, by policy."""
    shown = [rows for cell in cells if len(rows := of_cell(table3, cell))]
    if not shown:
        return None
    titles = [title_of(rows).replace(" ", "\n", 1) for rows in shown]
    title = "Is it the network, the policy, or the match? Every network under every policy"
    figure, axes = panels(titles, panel_height=2.6, title=title)
    for place, (panel, rows) in enumerate(zip(axes, shown, strict=True)):
        _dumbbells(panel, rows, has_names=place == 0, room=13.0 * min(len(shown), 3))
    handles = [
        Line2D([], [], color=color, marker=_POLICY_MARKERS[policy], linewidth=3, label=f"{policy} bits")
        for policy, color in _POLICY_COLORS.items()
    ]
    return with_legend(figure, [*precision_handles(), *handles])


def _dumbbells(panel: Axes, rows: pd.DataFrame, *, has_names: bool, room: float) -> None:
    values = ("accuracy_fp", "accuracy_q", "accuracy_delta", "accuracy_q_low", "accuracy_q_high")
    means = over_seeds(rows, [*CELL, "network", "policy"], values).to_dict("records")
    by_place: dict[tuple[str, str], Row] = {(row["network"], row["policy"]): row for row in means}
    for place, network in enumerate(NETWORKS):
        for offset, policy in zip((-0.26, 0.0, 0.26), POLICIES, strict=True):
            row = by_place.get((network, policy))
            if row is None:
                continue
            y, color = place + offset, _POLICY_COLORS[policy]
            fp, delta = 100 * row["accuracy_fp"], 100 * row["accuracy_delta"]
            dumbbell(panel, y, color=color, marker=_POLICY_MARKERS[policy], fp=fp, delta=delta, size=6)
            # The spread over seeds where there are several, otherwise the interval over draws.
            q, sd = row["accuracy_q"], row["accuracy_q_sd"]
            low, high = (q - sd, q + sd) if row["num_seeds"] > 1 else (row["accuracy_q_low"], row["accuracy_q_high"])
            if not is_missing(low):
                ends = [100 * low, 100 * high]
                panel.plot(ends, [y, y], color=color, marker="|", linewidth=1.0, markersize=9, zorder=4)
            label = pp(float(row["accuracy_delta"]), digits=1).replace("-", "\N{MINUS SIGN}")
            panel.annotate(
                label, (max(fp, fp + delta), y), (9, 0), textcoords="offset points", va="center_baseline", fontsize=9
            )
    panel.set_yticks(range(len(NETWORKS)), [f"{name}\nnetwork" if has_names else "" for name in NETWORKS.values()])
    panel.set(ylim=(len(NETWORKS) - 0.5, -0.5), xlim=(-3, 103 + room), xticks=range(0, 101, 25))
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("test accuracy (%)")


REPORT = AnalysisReport(
    derive=lambda findings: {"table3": table3(findings.tables["cross_policy"], dataset=findings.dataset)},
    section=section,
    overview=lambda tables: table3_text(tables["table3"]),
)
