"""Tables for the terminal, within 100 columns; the verdict is the only thing in colour."""

from collections.abc import Hashable, Mapping, Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.analyses.results import SweepTables, sweep_tables
from orchestrator.reports.analyses.cross_policy import NETWORKS, POLICIES
from orchestrator.reports.analyses.layers import MODES
from orchestrator.reports.document import number, pct, pp
from orchestrator.reports.grouping import CELL, Row, is_missing, over_seeds
from orchestrator.reports.page import derived_tables
from orchestrator.reports.search.tables import or_more, verdict_text
from orchestrator.reports.table1 import state_text
from orchestrator.results.pairs import PairRecord, Verdict
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.verdicts import Outcome, SearchVerdict
from orchestrator.store.sweep import Sweep
from search_spaces.recipes import Goal

VERDICT_STYLES = {
    Verdict.CATASTROPHIC: "bold red",
    Verdict.PARITY_LOST_DROPS: "yellow",
    Verdict.PARTIAL_DROP: "yellow",
    Verdict.NO_DROP: "green",
    Verdict.PARITY_LOST: "magenta",
}
_NUMBERS = (
    ("white\nbox", "white_box", pct),
    ("R FP", "robust_accuracy_fp", pct),
    ("R delta", "robust_accuracy_delta", pp),
    ("D FP", "detrimental_accuracy_fp", pct),
    ("D delta", "detrimental_accuracy_delta", pp),
    ("D gap", "detrimental_parity_gap", pp),
)
_NETWORK_WIDTH = 13


def render_table1(table: pd.DataFrame) -> Table:
    """Draws Table 1 for a console.

    Args:
        table: From `orchestrator.reports.table1.table1`.

    Returns:
        A table of at most 100 columns: percent on the test split, differences in percentage points. Rows of
        the paper's cells are followed by the paper's own numbers.
    """
    rows = table.to_dict("records")
    networks = list(dict.fromkeys(row["architecture"] for row in rows))
    has_seeds = len({row["seed"] for row in rows}) > 1
    is_searched = any(row["num_trials"] > 1 for row in rows)
    rendered = _frame(networks, has_seeds=has_seeds, is_searched=is_searched)
    previous = None
    for row in rows:
        network = row["architecture"] if row["architecture"] != previous else ""
        lead = [Text(network)] if len(networks) > 1 else []
        lead += [Text(f"{row['option_set']}-{row['budget_level']}"), Text(str(row["budget"]))]
        lead += [Text(str(row["seed"]))] if has_seeds else []
        tail = [_verdict(row), *([_trial(row)] if is_searched else [])]
        if previous not in (None, row["architecture"]):
            rendered.add_section()
        previous = row["architecture"]
        rendered.add_row(*lead, *_numbers(row, white_box="accuracy_white_box"), *tail)
        if not is_missing(row["paper_white_box"]):
            blank = [Text()] * (len(lead) - 1)
            numbers = _numbers(row, white_box="paper_white_box", prefix="paper_")
            rendered.add_row(*blank, Text("paper"), *numbers, Text(row["paper_verdict"]), style="dim")
    return rendered


def _frame(networks: list[str], *, has_seeds: bool, is_searched: bool) -> Table:
    of_network = f", {networks[0]}" if len(networks) == 1 else ""
    rendered = Table(
        title=Text(f"Table 1{of_network}: test split, percent"),
        caption="R robust, D detrimental; delta = quantized - FP, gap = white box - FP, in pp",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    if len(networks) > 1:
        rendered.add_column("network", max_width=_NETWORK_WIDTH, overflow="fold")
    rendered.add_column("cell", no_wrap=True)
    rendered.add_column("bits", justify="right", no_wrap=True)
    if has_seeds:
        rendered.add_column("seed", justify="right", no_wrap=True)
    for header, _, _ in _NUMBERS:
        rendered.add_column(header, justify="right", no_wrap=True)
    rendered.add_column("verdict", min_width=len(Verdict.PARITY_LOST_DROPS), max_width=28)
    if is_searched:
        rendered.add_column("trial", justify="right", no_wrap=True)
    return rendered


def _numbers(row: Mapping[Hashable, object], *, white_box: str, prefix: str = "") -> list[Text]:
    names = [white_box if name == "white_box" else prefix + name for _, name, _ in _NUMBERS]
    return [Text(write(row[name])) for name, (_, _, write) in zip(names, _NUMBERS, strict=True)]


def _verdict(row: Mapping[Hashable, object]) -> Text:
    word = str(row["verdict"])
    text = Text(word, style=VERDICT_STYLES[Verdict(word)] if word else "")
    state = state_text(str(row["robust_state"]), str(row["detrimental_state"]), names=("R", "D"))
    if state:
        text.append(("\n" if word else "") + state, style="default not bold")
    return text


def _trial(row: Mapping[Hashable, object]) -> Text:
    """The chosen trial and how many are planned, e.g. `2 of 5`; a dash where nothing is searched."""
    planned = row["num_trials"]
    if is_missing(row["chosen_trial"]) or not isinstance(planned, int):
        return Text()
    return Text(f"#{row['chosen_trial']} of {planned}" if planned > 1 else "-")


_SITE_WIDTH = 17


def render_analyses(derived: Mapping[str, pd.DataFrame]) -> list[Table]:
    """Draws what there is of Table 2, Table 3 and the inflection sites; means over seeds.

    Args:
        derived: From `orchestrator.reports.page.derived_tables`.
    """
    renderers = {"table2": _table2, "table3": _table3, "layer_inflections": _inflections}
    return [render(derived[name]) for name, render in renderers.items() if name in derived]


def _table2(table2: pd.DataFrame) -> Table:
    names = ("num_transitory", "num_images", "share", "share_of_both_right", "paper_share")
    means = over_seeds(table2.astype({"paper_share": "float64"}), CELL, names)
    has_paper = means["paper_share"].notna().any()
    headers = ["points", "images", "of all", "of both right", *(["paper"] if has_paper else [])]
    rendered = _analysis_frame("Table 2: transitory points, percent of the test split", headers, caption=_seeds(means))
    for row in means.to_dict("records"):
        count = number(0 if is_missing(row["num_transitory_sd"]) else 1)(row["num_transitory"])
        shares = [pct(row[name]) for name in names[2 : 5 if has_paper else 4]]
        rendered.add_row(*_cell(row), count, number(0)(row["num_images"]), *shares)
    return rendered


def _table3(table3: pd.DataFrame) -> Table:
    means = over_seeds(table3, [*CELL, "network", "policy"], ("accuracy_fp", "accuracy_delta"))
    headers = ["FP", *(f"{policy} bits" for policy in POLICIES.values())]
    title = "Table 3: test accuracy in percent, delta in pp under each policy's bits"
    rendered = _analysis_frame(title, headers, caption=_seeds(means), texts=("of",))
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
    rendered = _analysis_frame(title, [], caption=_seeds(shown), texts=tuple(MODES.values()))
    for _, of_cell in shown.groupby(list(CELL), sort=False):
        by_mode = {row["mode"]: row for row in of_cell.to_dict("records")}
        first = next(iter(by_mode.values()))
        rendered.add_row(*_cell(first), *(_site(by_mode.get(mode)) for mode in MODES))
    return rendered


def _site(row: Row | None) -> str:
    return "" if row is None else f"{row['site'] + 1} {row['site_name']}\n{pct(row['effect'], digits=1)}"


def _analysis_frame(title: str, headers: list[str], *, caption: str, texts: tuple[str, ...] = ()) -> Table:
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


_STYLES = {SearchVerdict.CATASTROPHIC: "bold red", SearchVerdict.SOMETIMES: "yellow"}


def render_searches(outcomes: Sequence[Outcome]) -> Table:
    """Draws what every search found and what its first pair cost, within 100 columns.

    Args:
        outcomes: Of the searched cells, at least one.
    """
    rendered = Table(
        title=Text("Searched cells: verdict on test, and the cost of the first pair"),
        caption="first: until the first pair that is catastrophic on validation; > : without any",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    rendered.add_column("cell", max_width=38, overflow="fold")
    rendered.add_column("verdict", max_width=28)
    for header in ("trials", "first\ntrial", "device-\nseconds"):
        rendered.add_column(header, justify="right", no_wrap=True)
    for outcome in outcomes:
        rendered.add_row(
            outcome.searched.title,
            Text(verdict_text(outcome), style=_STYLES.get(outcome.verdict, "")),
            str(outcome.num_ended),
            or_more(outcome.trials_to_first, outcome.num_ended),
            or_more(outcome.device_seconds_to_first, outcome.device_seconds),
        )
    return rendered


def print_analyses(sweep: Sweep, snapshot: Snapshot, records: Sequence[PairRecord], console: Console) -> SweepTables:
    """Prints Tables 2 and 3 and the sites where accuracy is lost, of what is analyzed, and returns all tables."""
    analyses = sweep_tables(records, snapshot, sweep.folder)
    for table in render_analyses(derived_tables(analyses.tables, records, dataset=snapshot.plan.grid.dataset.name)):
        console.print(table)
    return analyses
