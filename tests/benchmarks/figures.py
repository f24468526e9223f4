"""Figures and their bars, and the table that `make bench` prints: `python -m tests.benchmarks.figures bench.json`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEADER = ("figure", "measured", "bar", "met")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    """`ms`, `x`, `MB`, `%`, `s`; empty for counts."""
    at_most: float | None = None
    """Bar that the value must not exceed."""
    at_least: float | None = None
    """Bar that the value must reach."""
    detail: str = ""
    """What else there is to know, in brackets behind the value."""

    @property
    def is_met(self) -> bool | None:
        """Whether the bar holds; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def row(self) -> tuple[str, str, str, str]:
        """Returns the cells of the table.

        Examples:
            >>> Figure(name="knapsack", value=0.0712, unit="ms", at_most=0.15).row()
            ('knapsack', '0.0712 ms', '<= 0.15 ms', 'yes')
        """
        measured = f"{number(self.value)} {self.unit}".rstrip() + (f" ({self.detail})" if self.detail else "")
        bar = ""
        if self.at_most is not None:
            bar = f"<= {self.at_most:,} {self.unit}"
        elif self.at_least is not None:
            bar = f">= {self.at_least:,} {self.unit}"
        return self.name, measured, bar, {True: "yes", False: "NO", None: ""}[self.is_met]


def number(value: float) -> str:
    """Writes a count as it is, and anything else with three significant digits and without an exponent.

    Examples:
        >>> number(12), number(0.07), number(1.5), number(204.4), number(15123.4)
        ('12', '0.0700', '1.50', '204', '15,123')
    """
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def table(figures: Sequence[Figure]) -> str:
    """Returns a Markdown table, padded so that it also reads well in a terminal, and how many bars were met."""
    rows = [HEADER, *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    verdicts = [figure.is_met for figure in figures if figure.is_met is not None]
    if verdicts:
        lines += ["", f"{sum(verdicts)} of {len(verdicts)} bars met."]
    return "\n".join(lines)


def read_figures(path: Path) -> list[Figure]:
    """Reads the figures out of the JSON of pytest-benchmark, in the order of the tests."""
    benchmarks = json.loads(path.read_text())["benchmarks"]
    return [Figure(**figure) for entry in benchmarks for figure in entry["extra_info"].get("figures", [])]


if __name__ == "__main__":
    sys.stdout.write(table(read_figures(Path(sys.argv[1]))) + "\n")
