"""The epochs of a trial as a table that grows row by row; accuracies in percent, as everywhere."""

from collections.abc import Iterator, Mapping
from typing import Any

_NOT_SHOWN = ("epoch", "seconds", "timestamp_ms")
_HEADINGS = {
    "learning_rate": "rate",
    "validation/accuracy_white_box": "white box %",
    "validation/accuracy_fp": "FP %",
    "validation/accuracy_q": "quantized %",
    "validation/accuracy_delta": "delta pp",
    "validation/parity_gap": "gap pp",
    "validation/drop_standard_error": "error of drop pp",
}
_SIGNED = {"validation/accuracy_delta", "validation/parity_gap"}
_WIDTH = 7
"""Of a column at least: as wide as its numbers get."""


class EpochTable:
    r"""Writes rows of epochs.parquet as lines of one table.

    Examples:
        >>> table = EpochTable(32)
        >>> row = {"epoch": 3, "seconds": 1.26, "timestamp_ms": 0, "train/loss": 0.51234, "train/kd": None}
        >>> print(*table.lines(row | {"validation/accuracy_q": 0.125}), sep="\n")
        epoch  seconds     loss  quantized %
         3/32      1.3   0.5123        12.50
        >>> print(*table.lines(row), sep="\n")
         3/32      1.3   0.5123
    """

    def __init__(self, num_epochs: object) -> None:
        """Prints nothing yet.

        Args:
            num_epochs: Of the training.
        """
        self._num_epochs = num_epochs
        self._names: tuple[str, ...] | None = None

    def lines(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Yields the row, after the headings where it is the first or has columns that those before it lacked."""
        measured = tuple(name for name, value in row.items() if name not in _NOT_SHOWN and value is not None)
        if self._names is None or not set(measured) <= set(self._names):
            self._names = measured
            yield self._line("epoch", "seconds", [_heading(name) for name in measured])
        fields = ["" if row.get(name) is None else _field(name, row[name]) for name in self._names]
        yield self._line(f"{row['epoch']}/{self._num_epochs}", f"{row['seconds']:.1f}", fields)

    def _line(self, epoch: str, seconds: str, fields: list[str]) -> str:
        assert self._names is not None
        widths = [max(_WIDTH, len(_heading(name))) for name in self._names]
        padded = [f"{field:>{width}}" for field, width in zip(fields, widths, strict=True)]
        return "  ".join([f"{epoch:>5}", f"{seconds:>{_WIDTH}}", *padded]).rstrip()


def _heading(name: str) -> str:
    if name in _HEADINGS:
        return _HEADINGS[name]
    words = name.rpartition("/")[2].replace("_", " ")
    return f"{words} %" if "accuracy" in name else words


def _field(name: str, value: float) -> str:
    if name in _SIGNED:
        return f"{100 * value:+.2f}"
    return f"{100 * value:.2f}" if _heading(name).endswith(("%", "pp")) else f"{value:.4g}"
