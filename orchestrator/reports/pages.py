"""The report of a sweep: Table 1 as CSV and Parquet, figures, and a page in Markdown and in HTML.

`dptq-sweep report` calls `write_report` at any time, also in the middle of a sweep. Equal stores give equal
bytes: nothing here reads a clock, the caller passes the date among the facts.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure

from orchestrator.plan import Plan
from orchestrator.reports.content import (
    DEFINITIONS,
    Field,
    TextTable,
    headline,
    progress,
    search_tables,
    table1_text,
    trouble_table,
)
from orchestrator.reports.drawing import dark, png, svg
from orchestrator.reports.figures import figure_search, figure_table1, figure_training
from orchestrator.reports.pairs import records_of
from orchestrator.reports.table1 import table1
from orchestrator.reports.trials import Curve, Trial, read_curve, read_trials
from orchestrator.store import Store, parquet_bytes
from search_spaces.recipes import Goal

_TEMPLATE = "report.html.j2"
_MARKDOWN_SPECIAL = str.maketrans({character: "\\" + character for character in "\\`*_[]|#"} | {"\n": " "})


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One figure of the report."""

    name: str
    alt: str
    png: bytes
    svg: bytes

    @property
    def light_uri(self) -> str:
        """The figure as a data URI."""
        return _data_uri(self.svg)

    @property
    def dark_uri(self) -> str:
        """The figure for the dark theme as a data URI."""
        return _data_uri(dark(self.svg))


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Everything that both pages show, in reading order."""

    title: str
    headline: str
    progress: str
    is_complete: bool
    table1: TextTable
    results: Picture | None
    search: Picture | None
    search_tables: tuple[TextTable, ...]
    training: Picture | None
    trouble: TextTable
    definitions: Mapping[str, str]
    facts: Mapping[str, str]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The figures that there are."""
        return tuple(picture for picture in (self.results, self.search, self.training) if picture)


def write_report(plan: Plan, store: Store, sweep: str, *, facts: Mapping[str, str]) -> list[str]:
    """Writes the report of a sweep into its folder, whatever has been done of it so far.

    Args:
        plan: What the sweep runs.
        store: Where its trials live.
        sweep: Its name.
        facts: What else to record, e.g. versions, seeds, commands, the date; shown in this order.

    Returns:
        The paths of the files written.

    Raises:
        StorageError: The folder cannot be written.
    """
    trials = read_trials(plan, store)
    table = table1(plan, trials)
    page = _page(plan, store, sweep, trials=trials, table=table, facts=facts)
    # The pages come last: whoever sees them finds the pictures that they link to.
    files = {
        "table1.csv": _csv(table),
        "table1.parquet": parquet_bytes(pa.Table.from_pandas(table, preserve_index=False)),
    }
    for picture in page.pictures:
        files |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    files |= {"report.md": markdown(page).encode(), "report.html": html_page(page).encode()}
    folder = store.sweep(sweep)
    for name, content in files.items():
        folder.write_bytes(name, content)
    return [f"{folder.root}/{name}" for name in files]


def html_page(page: Page) -> str:
    """Renders one self-contained page: no scripts, no external resource, light and dark theme."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("orchestrator.reports").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(page=page)


def markdown(page: Page) -> str:
    """Renders the page as Markdown that links the PNG files beside it."""
    parts = [f"# {_md(page.title)}", f"**{_md(page.headline)}**", _md(page.progress), "## Table 1"]
    parts += [_md(page.table1.title) + ".", _md_table(page.table1)]
    parts += _md_picture(page.results)
    if page.search_tables:
        parts += ["## Search", *_md_picture(page.search)]
        for table in page.search_tables:
            parts += [f"### {_md(table.title)}", _md_table(table)]
    if page.training:
        parts += ["## Training", *_md_picture(page.training)]
    if page.trouble.rows:
        parts += ["## Not done", _md_table(page.trouble)]
    parts += ["## Terms", *(f"- **{_md(term)}**: {_md(text)}" for term, text in page.definitions.items())]
    if page.facts:
        parts += ["## Facts", *(f"- {_md(name)}: {_md(value)}" for name, value in page.facts.items())]
    return "\n\n".join(parts) + "\n"


def _page(
    plan: Plan,
    store: Store,
    sweep: str,
    *,
    trials: Sequence[Trial],
    table: pd.DataFrame,
    facts: Mapping[str, str],
) -> Page:
    sentence, trouble = headline(table), trouble_table(plan, trials)
    return Page(
        title=f"Sweep {sweep}",
        headline=sentence,
        progress=progress(plan, trials),
        is_complete=not trouble.rows,
        table1=table1_text(table),
        results=_picture("figure_table1", sentence, figure_table1(table)),
        search=_picture(
            "figure_search",
            "Parity gap against drop on validation for every trial of the searched cells.",
            figure_search(records_of(trials)),
        ),
        search_tables=tuple(search_tables(trials)),
        training=_picture(
            "figure_training",
            "Validation accuracy by epoch, at full precision and quantized, for every pair of Table 1.",
            figure_training(_curves(trials, table, store)),
        ),
        trouble=trouble,
        definitions=DEFINITIONS,
        facts=facts,
    )


def _curves(trials: Sequence[Trial], table: pd.DataFrame, store: Store) -> dict[str, dict[Goal, Curve]]:
    """Curves of the pairs that stand for their cells; trial 0 where none is chosen yet."""
    chosen = {uid for uid in table["chosen_uid"] if uid}
    by_uid = {trial.node.uid: trial for trial in trials}
    settled = {by_uid[uid].node.cell_id for uid in chosen}
    has_several = table["architecture"].nunique() > 1
    curves: dict[str, dict[Goal, Curve]] = {}
    for trial in trials:
        cell = trial.node.cell
        is_shown = trial.node.uid in chosen or (trial.node.trial_number == 0 and trial.node.cell_id not in settled)
        curve = read_curve(trial, store) if cell and is_shown else None
        if cell and curve:
            network = f"{cell.architecture}\n" if has_several else ""
            title = f"{network}{cell.option_set}-{cell.budget_level}, {cell.recipe.budget} bits"
            curves.setdefault(title, {})[cell.goal] = curve
    return curves


def _picture(name: str, alt: str, figure: Figure | None) -> Picture | None:
    return None if figure is None else Picture(name=name, alt=alt, png=png(figure), svg=svg(figure))


def _data_uri(picture: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture).decode()


def _csv(table: pd.DataFrame) -> bytes:
    # Ten digits: enough for any ratio of counts, and no noise of the last bit.
    return table.to_csv(index=False, float_format="%.10g", lineterminator="\n").encode()


def _md(text: str) -> str:
    """Escapes text so that Markdown shows it as it is."""
    return html.escape(text, quote=False).translate(_MARKDOWN_SPECIAL)


def _md_table(table: TextTable) -> str:
    groups = {"Robust": "R", "Detrimental": "D", "Point": ""}
    prefixes = [groups.get(column.group, column.group) for column in table.columns]
    columns = zip(prefixes, table.columns, strict=True)
    lines = [[_md(f"{prefix} {column.header}".strip()) for prefix, column in columns]]
    lines += [["---:" if column.is_number else ":---" for column in table.columns]]
    lines += [[_md_field(field) for field in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _md_field(field: Field) -> str:
    note = f" ({_md('; '.join(field.note.splitlines()))})" if field.note else ""
    return f"{_md(field.text)}{note}".strip()


def _md_picture(picture: Picture | None) -> list[str]:
    return [f"![{_md(picture.alt)}]({picture.name}.png)"] if picture else []
