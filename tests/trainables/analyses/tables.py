"""The table of an analysis at once."""

from collections.abc import Sequence

from trainables.analyses.trained_pair import Row, Unit


def rows_of(units: Sequence[Unit]) -> list[Row]:
    """Computes all units."""
    return [row for unit in units for row in unit.rows()]
