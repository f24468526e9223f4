"""The console: a terminal or a pipe, and lines that are printed as they are."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 130


def make_console() -> Console:
    """Returns the terminal, or a wide page where there is none: a pipe has no width, and names must not be cut."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def line_printer(console: Console) -> Callable[[str], None]:
    """Returns what prints a line as it is, however long."""
    return lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)


def make_table(*headings: str, right: Sequence[str] = ()) -> Table:
    """Returns a table without lines whose fields stay whole; columns with these headings are of numbers."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right" if heading in right else "left")
    return table


def written(paths: Sequence[str]) -> str:
    """Says in one line what a report wrote; the page comes last."""
    return f"wrote {len(paths)} files, to be read from {paths[-1]}"


def megabytes(num_bytes: int) -> str:
    """Writes a size for people.

    Examples:
        >>> megabytes(1_234_567), megabytes(0)
        ('1.2 MB', '0.0 MB')
    """
    return f"{num_bytes / 1e6:,.1f} MB"
