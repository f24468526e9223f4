"""Metrics in MLflow's terms: which numbers become one, under which name and at which step.

`test/...` and `validation/...` are final figures, at step 0: MLflow draws a bar of a metric that has no other step.
What is measured after every epoch is `train/...`, a curve: `train/validation_accuracy_q` is what the validation split
says of each epoch. What nobody charts lies in result.json and epochs.parquet, which are artifacts.
"""

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from orchestrator.results.claims import COUNTS
from orchestrator.store.folder import sha256
from orchestrator.store.records import TrialResult
from search_spaces.stages.registry import Stage

FINAL = 0
"""Step of what is known at the end."""
UNCHARTED = frozenset(
    {
        *(*COUNTS, "drop_standard_error", "least_bits", "most_bits", "on_budget"),
        *("drop_low", "drop_high", "flips_low_margin", "worst_class_drop"),
    }
)
"""Figures of a split or a rung that bounds and tests are made of; no chart shows them."""
_OF_WHITE_BOX = "validation/accuracy_white_box"
"""The same in every epoch and every pair of a white box; `test/accuracy_white_box` has its bar."""
_FIRST = ("test/accuracy_delta", "train/validation_accuracy_delta")
_LAST = ("learning_rate", "_seconds")
"""Ends of the names of metrics that say nothing of what came of a trial."""
_LONGEST_METRIC = 250


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


def epoch_points(row: Mapping[str, Any], stage: Stage = Stage.PAIR) -> list[Point]:
    """Returns the metrics of one row of epochs.parquet; cells without a value are left out, NaN is a value.

    Examples:
        >>> epoch_points({"epoch": 2, "timestamp_ms": 7, "train/loss": 0.25, "train/kd": None})
        [Point(key='train/loss', value=0.25, timestamp_ms=7, step=2)]
        >>> epoch_points({"epoch": 0, "timestamp_ms": 7, "seconds": 3.0, "validation/accuracy_q": 0.5})[0].key
        'train/validation_accuracy_q'
    """
    values = dict(row)
    step, timestamp_ms = int(values.pop("epoch")), int(values.pop("timestamp_ms"))
    # An assessment trains nothing: its epochs are rungs.
    section = str(stage) if stage is Stage.ASSESS else "train"
    charted = {_curve(name, section): value for name, value in values.items() if _is_charted(name)}
    return points_of(_in_order(charted), timestamp_ms, step)


def final_points(result: TrialResult, timestamp_ms: int) -> list[Point]:
    """Returns the metrics of result.json that charts show."""
    return points_of(_in_order(result.metrics | {"trial_seconds": result.seconds}), timestamp_ms, FINAL)


def points_of(values: Iterable[tuple[str, Any]], timestamp_ms: int, step: int) -> list[Point]:
    """Returns the values that are numbers as metrics of one moment, without those that nobody charts."""
    return [
        Point(metric_key(name), float(value), timestamp_ms, step)
        for name, value in values
        if isinstance(value, (int, float)) and _is_charted(name)
    ]


def _in_order(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Orders metrics as MLflow is to show them: its comparison of runs begins with the one that was logged first."""

    def place(item: tuple[str, Any]) -> int:
        name = item[0]
        if name in _FIRST:
            return _FIRST.index(name)
        return len(_FIRST) + (2 if name.endswith(_LAST) else 0 if name.startswith("test/") else 1)

    return sorted(values.items(), key=place)


def _is_charted(name: str) -> bool:
    return name != _OF_WHITE_BOX and name.rpartition("/")[2] not in UNCHARTED


def metric_key(name: str) -> str:
    """Returns a name that MLflow accepts for a metric; different names stay different.

    MLflow takes letters, digits and `_-. /:`, no path like `a//b`, and 250 characters.

    Examples:
        >>> metric_key("validation/accuracy_fp")
        'validation/accuracy_fp'
        >>> metric_key("bits[0]")
        'bits_0_.c379c7'
    """
    key = posixpath.normpath(re.sub(r"[^\w\-. /:]", "_", name)).strip("./") or "metric"
    if key == name and len(key) <= _LONGEST_METRIC:
        return key
    return f"{key[: _LONGEST_METRIC - 7]}.{sha256(name.encode())[:6]}"


def _curve(name: str, section: str) -> str:
    """Names a column of epochs.parquet as a metric.

    Examples:
        >>> _curve("seconds", "train"), _curve("train/kd", "train"), _curve("accuracy", "assess")
        ('train/epoch_seconds', 'train/kd', 'assess/accuracy')
    """
    name = "epoch_seconds" if name == "seconds" else name
    return name if name.startswith(f"{section}/") else f"{section}/{name.replace('/', '_')}"
