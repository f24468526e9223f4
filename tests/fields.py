"""Every field of what is written down is read where it should be, and nowhere else: how tests say so, field by field.

A test runs the same thing twice, with a field as it is and changed, and compares what it saw, by name. What differs
must be what the field's entry says, all of it and nothing else; a field without an entry fails.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

from search_spaces.model import Frozen


@dataclass(frozen=True, slots=True)
class Change:
    """Another value of a field, and the names of all that it changes of what is observed."""

    value: Any
    changes: Iterable[str]


Entries = Mapping[type[Frozen], Mapping[str, Change]]


def every_field(kinds: Iterable[type[Frozen]], entries: Entries) -> list[Any]:
    """Returns kind, field and its entry, None where it lacks, of all fields; also of entries without a field."""
    return [
        pytest.param(kind, field, entries.get(kind, {}).get(field), id=f"{kind.__name__}.{field}")
        for kind in kinds
        for field in dict.fromkeys((*kind.model_fields, *entries.get(kind, {})))
    ]


def check_change(field: str, change: Change | None, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Checks that what was seen with a field as it is and changed differs in what the field's entry says."""
    assert change is not None, f"nothing says what {field} changes: give it an entry"
    differing = {name for name in before.keys() | after.keys() if not same(before.get(name), after.get(name))}
    expected = set(change.changes)
    assert differing == expected, (
        f"{field}={change.value!r} changes {sorted(differing - expected)}, too, and not {sorted(expected - differing)}"
    )


def same(left: Any, right: Any) -> bool:
    """Tells whether two observations are equal to the last bit; NaN equals itself."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.equal(right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and (left == right or (left != left and right != right))
