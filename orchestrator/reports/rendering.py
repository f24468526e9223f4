"""A page as one self-contained HTML file and as Markdown."""

import html
from collections.abc import Mapping

import jinja2
import pandas as pd
import pyarrow as pa

from orchestrator.reports.document import Page, Section
from orchestrator.reports.layout import Field, TextTable
from orchestrator.store.folder import parquet_bytes

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("orchestrator", "reports"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_MARKDOWN_SPECIAL = str.maketrans({character: "\\" + character for character in "\\`*_[]|#"} | {"\n": " "})
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What begins a formula in a spreadsheet, also in full width."""


def page_files(name: str, page: Page) -> dict[str, bytes]:
    """Returns a page's files by their paths: its pictures as PNG and SVG, then the page as Markdown and HTML."""
    files: dict[str, bytes] = {}
    for picture in page.pictures:
        files |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    # The pages come last: a reader who sees them finds the pictures that they link to.
    return files | {f"{name}.md": markdown(page).encode(), f"{name}.html": html_page(page).encode()}


def html_page(page: Page) -> str:
    """Renders one self-contained page: no scripts, no external resource, light and dark theme."""
    return _TEMPLATES.get_template("report.html.j2").render(page=page)


def markdown(page: Page) -> str:
    """Renders the page as Markdown that links the PNG files beside it."""
    parts = [f"# {_md(page.title)}", f"**{_md(page.headline)}**", _md(page.progress)]
    pages = [f"- In MLflow, {name}: {_where(where)}" for name, where in page.pages.items()]
    parts += ["\n".join(pages)] if pages else []
    for section in page.sections:
        parts += _md_section(section)
    return "\n\n".join(parts) + "\n"


def _md_section(section: Section) -> list[str]:
    parts = [f"## {_md(section.title)}"]
    parts += [_md(text) for text in (section.statement, section.caption) if text]
    parts += [f"![{_md(picture.alt)}]({picture.name}.png)" for picture in section.pictures]
    for table in section.tables:
        parts += [f"### {_md(table.title)}"] if table.title else []
        parts.append(_md_table(table))
    parts += ["\n".join(f"- {_md(point)}" for point in section.points)] if section.points else []
    mark = "" if section.is_literal else "**"
    return parts + [f"- {mark}{_md(term)}{mark}: {_md(text)}" for term, text in section.terms.items()]


def _where(where: str) -> str:
    return f"<{where}>" if where.startswith("http") else f"`{where}`"


def _md(text: str) -> str:
    """Escapes text so that Markdown shows it as it is."""
    return html.escape(text, quote=False).translate(_MARKDOWN_SPECIAL)


def _md_table(table: TextTable) -> str:
    lines = [[_md(column.label) for column in table.columns]]
    lines += [["---:" if column.is_number else ":---" for column in table.columns]]
    lines += [[_md_field(field) for field in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _md_field(field: Field) -> str:
    note = f" ({_md('; '.join(field.note.splitlines()))})" if field.note else ""
    # Rows have no anchors in Markdown, so links to them are left out.
    links = " ".join(f"[{_md(text)}]({where})" for text, where in field.links if not where.startswith("#"))
    return f"{_md(field.text)}{note} {links}".strip()


def table_files(tables: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """Returns the files of tables by their paths, the names with the endings `.csv` and `.parquet`.

    Columns of lists and of bytes are left out of CSV.
    """
    files: dict[str, bytes] = {}
    for name, table in tables.items():
        flat = table[[column for column in table.columns if _is_flat(table[column])]]
        # Ten digits: enough for any ratio of counts, and no noise of the last bit.
        files[f"{name}.csv"] = (
            without_formulas(flat).to_csv(index=False, float_format="%.10g", lineterminator="\n").encode()
        )
        files[f"{name}.parquet"] = parquet_bytes(pa.Table.from_pandas(table, preserve_index=False))
    return files


def _is_flat(column: pd.Series) -> bool:
    return column.dtype != object or not any(hasattr(v, "__len__") and not isinstance(v, str) for v in column)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    r"""Returns a table none of whose texts a spreadsheet reads as a formula: an apostrophe makes it a text.

    Examples:
        >>> without_formulas(pd.DataFrame({"class": ["=1+1", "a=b"], "drop": [-1.5, 2]})).to_csv(index=False)
        "class,drop\n'=1+1,-1.5\na=b,2.0\n"
    """
    return table.rename(columns=_as_text).map(_as_text)


def _as_text(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    # A carriage return ends a line for some readers, also in the middle of a cell.
    text = cell.replace("\r", " ")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULAS) else text
