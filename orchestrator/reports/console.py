"""Tables for the terminal, within 100 columns; the verdict is the only thing in colour."""

from collections.abc import Hashable, Mapping

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.reports.format import is_missing, pct, pp
from orchestrator.reports.pairs import Verdict
from orchestrator.reports.table1 import state_text

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
