"""Every error that a user can cause or fix.

The text of an error says what is wrong with the value, the rule with its numbers, and the hint. Errors
cross process boundaries inside Ray, so they take plain positional arguments only: an exception with a
keyword-only constructor does not unpickle.
"""

import difflib
import re
from collections.abc import Iterable

MAX_VALUE, MAX_TEXT = 200, 2000
"""Largest number of letters of a value in an error, and of an error."""


class SweepError(Exception):
    """Anything the user can cause or fix: the command prints `Error: ...` and exits 1."""

    def __str__(self) -> str:
        """The text; the middle of one that is too long to read is left out, and what is no Unicode is spelled."""
        # A name on a disk may be no UTF-8, which no terminal and no file takes, or hold the end of a line.
        text = super().__str__().encode(errors="backslashreplace").decode()
        return shortened(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", lambda letter: repr(letter[0])[1:-1], text), MAX_TEXT)


class ConfigError(SweepError, ValueError):
    """A value in a grid, a recipe or a flag breaks a rule."""


class UnknownNameError(ConfigError):
    """A name that is not among the known ones; lists the nearest."""


class InfeasibleBudgetError(ConfigError):
    """No allocation of the permitted bit-widths over the sites sums to the budget."""


class UnavailableError(SweepError):
    """Data or weights that are not on this machine and cannot be fetched."""


class StorageError(SweepError):
    """The storage folder cannot be read, or holds something else."""


class UnwritableError(StorageError):
    """The storage folder cannot be written: it is full, read-only or owned by another user."""


class UnreachableError(SweepError, OSError):
    """The storage does not answer: no network, no bucket or no permission. What it holds may be in order."""


class FullDiskError(SweepError, OSError):
    """A disk of a machine is full, outside the storage: of a cache, a temporary folder or Ray's own files."""


class TrackingError(SweepError):
    """The MLflow store cannot be reached."""


class NonFiniteLossError(SweepError, ArithmeticError):
    """The training loss became NaN or infinite; recorded, never retried."""


def shortened(text: str, most: int) -> str:
    """Leaves out the middle of a text that has more than so many letters.

    Examples:
        >>> shortened("abcdefghij", 9), shortened("abcdefghi", 9)
        ('ab ... ij', 'abcdefghi')
    """
    if len(text) <= most:
        return text
    kept = (most - 5) // 2
    return f"{text[:kept]} ... {text[-kept:]}"


def shown(value: object) -> str:
    """Writes a value for an error: as Python does, and short.

    Examples:
        >>> shown("82b"), len(shown("x" * 1000))
        ("'82b'", 199)
    """
    return shortened(repr(value), MAX_VALUE)


def join_place(place: str, *parts: object) -> str:
    """Names something inside of a place; a place that ends in a blank only introduces it.

    Examples:
        >>> join_place("pair.robust", "margin"), join_place("my.yaml: ", "search", "trials"), join_place("", "seeds")
        ('pair.robust.margin', 'my.yaml: search.trials', 'seeds')
    """
    inside = ".".join(str(part) for part in parts)
    return f"{place}.{inside}" if place and inside and not place.endswith(" ") else place + inside


def unknown_name(kind: str, name: str, known: Iterable[str], *, place: str = "") -> UnknownNameError:
    """Builds the error for a name that does not exist, naming the nearest ones that do.

    Args:
        kind: What the name should have been, e.g. `"grid"`.
        name: What was given.
        known: Every name that exists; all are listed when there are ten or fewer.
        place: Where the name stands in what the user wrote, such as `pair.robust`; shown in front of it.

    Examples:
        >>> print(unknown_name("grid", "quik", ["quick", "full"]))
        unknown grid 'quik'. Did you mean 'quick'? Known: full, quick.
        >>> print(unknown_name("field", "trails", ["trials", "levels"], place="search"))
        unknown field 'search.trails'. Did you mean 'trials'? Known: levels, trials.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    text = f"unknown {kind} {shown(join_place(place, name))}."
    if nearest:
        text += f" Did you mean {' or '.join(repr(each) for each in nearest)}?"
    if len(names) <= 10:
        text += f" Known: {', '.join(names)}."
    return UnknownNameError(text)


def one_line(error: BaseException) -> str:
    r"""Returns what another library's error says, without its line breaks.

    Examples:
        >>> one_line(OSError("no such\n  bucket")), one_line(EOFError())
        ('no such bucket', 'EOFError')
    """
    return " ".join(str(error).split()) or type(error).__name__
