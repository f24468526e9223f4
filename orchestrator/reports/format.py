"""Numbers as people read them: fractions become percent, differences signed percentage points."""

import math


def is_missing(value: object) -> bool:
    """Tells whether a cell of a table holds nothing: None, NaN, pandas' NA or an empty text."""
    if value is None or isinstance(value, str):
        return not value
    return not isinstance(value, int | float) or math.isnan(value)


def pct(fraction: object, *, digits: int = 2) -> str:
    """Writes a fraction as percent without the sign; nothing where there is no number.

    Examples:
        >>> pct(0.8803), pct(None)
        ('88.03', '')
    """
    if not isinstance(fraction, float) or is_missing(fraction):
        return ""
    return f"{_clean(fraction, digits):.{digits}f}"


def pp(difference: object, *, digits: int = 2) -> str:
    """Writes a difference of fractions in percentage points, signed unless it rounds to zero.

    Examples:
        >>> pp(-0.8647), pp(0.004), pp(-1e-9)
        ('-86.47', '+0.40', '0.00')
    """
    if not isinstance(difference, float) or is_missing(difference):
        return ""
    points = _clean(difference, digits)
    return f"{points:+.{digits}f}" if points else f"{points:.{digits}f}"


def point(value: object) -> str:
    """Writes a loss weight or margin with three significant digits."""
    return "" if not isinstance(value, float) or is_missing(value) else f"{value:.3g}"


def _clean(fraction: float, digits: int) -> float:
    """Percent, rounded, without the negative zero that formatting would print."""
    return round(100 * fraction, digits) + 0.0
