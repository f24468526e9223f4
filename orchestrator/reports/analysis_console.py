"""Tables 2 and 3 and the inflection sites for the terminal, within 100 columns."""

from collections.abc import Mapping

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.reports.fields import number
from orchestrator.reports.format import is_missing, pct, pp
from orchestrator.reports.seeds import CELL, Row, over_seeds
from orchestrator.reports.site_tables import MODES
from orchestrator.reports.table3 import NETWORKS, POLICIES
from search_spaces.recipes import Goal

_NETWORK_WIDTH, _SITE_WIDTH = 13, 17


def render_analyses(derived: Mapping[str, pd.DataFrame]) -> list[Table]:
    """Draws what there is of Table 2, Table 3 and the inflection sites; means over seeds.

    Args:
        derived: From `orchestrator.reports.analysis_report.derived_tables`.
    """
    renderers = {"table2": _table2, "table3": _table3, "layer_inflections": _inflections}
    return [render(derived[name]) for name, render in renderers.items() if name in derived]


def _table2(table2: pd.DataFrame) -> Table:
    names = ("num_transitory", "num_images", "share", "share_of_both_right", "paper_share")
    means = over_seeds(table2.astype({"paper_share": "float64"}), CELL, names)
    has_paper = means["paper_share"].notna().any()
    headers = ["points", "images", "of all", "of both right", *(["paper"] if has_paper else [])]
    rendered = _frame("Table 2: transitory points, percent of the test split", headers, caption=_seeds(means))
    for row in means.to_dict("records"):
        count = number(0 if is_missing(row["num_transitory_sd"]) else 1)(row["num_transitory"])
        shares = [pct(row[name]) for name in names[2 : 5 if has_paper else 4]]
        rendered.add_row(*_cell(row), count, number(0)(row["num_images"]), *shares)
    return rendered


def _table3(table3: pd.DataFrame) -> Table:
    means = over_seeds(table3, [*CELL, "network", "policy"], ("accuracy_fp", "accuracy_delta"))
    headers = ["FP", *(f"{policy} bits" for policy in POLICIES.values())]
    title = "Table 3: test accuracy in percent, delta in pp under each policy's bits"
    rendered = _frame(title, headers, caption=_seeds(means), texts=("of",))
    for _, of_network in means.groupby([*CELL, "network"], sort=False):
        by_policy = {row["policy"]: row for row in of_network.to_dict("records")}
        first = next(iter(by_policy.values()))
        deltas = [pp(by_policy[policy]["accuracy_delta"]) if policy in by_policy else "" for policy in POLICIES]
        rendered.add_row(*_cell(first), NETWORKS[first["network"]], pct(first["accuracy_fp"]), *deltas)
    return rendered


def _inflections(inflections: pd.DataFrame) -> Table:
    splits = set(inflections["split"])
    split = "test" if "test" in splits else sorted(splits)[0]
    shown = inflections[(inflections["split"] == split) & (inflections["goal"] == Goal.DETRIMENTAL)]
    title = f"Sites with the largest effect on the detrimental pair, {split} split, pp"
    rendered = _frame(title, [], caption=_seeds(shown), texts=tuple(MODES.values()))
    for _, of_cell in shown.groupby(list(CELL), sort=False):
        by_mode = {row["mode"]: row for row in of_cell.to_dict("records")}
        first = next(iter(by_mode.values()))
        rendered.add_row(*_cell(first), *(_site(by_mode.get(mode)) for mode in MODES))
    return rendered


def _site(row: Row | None) -> str:
    return "" if row is None else f"{row['site'] + 1} {row['site_name']}\n{pct(row['effect'], digits=1)}"


def _frame(title: str, headers: list[str], *, caption: str, texts: tuple[str, ...] = ()) -> Table:
    rendered = Table(
        title=Text(title),
        caption=caption or None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    rendered.add_column("network", max_width=_NETWORK_WIDTH, overflow="fold")
    rendered.add_column("cell", no_wrap=True)
    rendered.add_column("bits", justify="right", no_wrap=True)
    for header in texts:
        rendered.add_column(header, max_width=_SITE_WIDTH, overflow="fold")
    for header in headers:
        rendered.add_column(header, justify="right", no_wrap=True)
    return rendered


def _cell(row: Row) -> tuple[str, str, str]:
    return str(row["architecture"]), f"{row['option_set']}-{row['budget_level']}", str(row["budget"])


def _seeds(means: pd.DataFrame) -> str:
    num_seeds = int(means["num_seeds"].max()) if len(means) else 1
    return f"means of {num_seeds} seeds" if num_seeds > 1 else ""
