"""One part of an assessment, step by step: the network itself, or the ladder of one budget.

A step is what a trial reports after and goes on from. Rungs become rows of the table `rungs`; what else is measured
is a table of its own. Nothing here knows of trials: the stage and the Python interface run the same steps.
"""

import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from search_spaces.stages.assessment import INT8, LADDER_RUNGS, NETWORK_STEPS, Ladder
from search_spaces.stages.assessment import RUNGS as ALL_RUNGS
from trainables.assessment.figures import Reference, class_shares, figures_of, median_draw
from trainables.assessment.ladder import Measured, everywhere, full_precision, measure_rung
from trainables.assessment.network import measure_all_sites, measure_channels
from trainables.assessment.repairs.measure import measure_repairs
from trainables.assessment.subject import Subject

RUNGS, CLASSES = "rungs", "classes"
"""Tables of every part."""
LABELS = "labels"
"""What the table of classes calls the labels, where rungs have their names."""
METRICS = ("accuracy", "drop", "drop_low", "drop_high", "flips", "flips_low_margin", "worst_class_drop")
"""Figures of a rung that become metrics; the tables have all. Trackers draw a chart of each."""
_TABLE = "table."


@dataclass(slots=True)
class Part:
    """What a part has measured so far."""

    budget: int | None
    rungs: dict[str, Measured] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """What was measured besides rungs, by name."""

    def tensors(self) -> dict[str, Tensor]:
        """Returns all of it as tensors, for a resume state."""
        tensors = {name: tensor for rung, each in self.rungs.items() for name, tensor in each.tensors(rung).items()}
        return tensors | {f"{_TABLE}{name}": _packed(table) for name, table in self.tables.items()}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], budget: int | None) -> "Part":
        """Reads what `tensors` returned."""
        # safetensors returns names in any order.
        tables = {name: tensor for name, tensor in sorted(tensors.items()) if name.startswith(_TABLE)}
        rungs = sorted({name.partition(".")[0] for name in tensors if name not in tables}, key=ALL_RUNGS.index)
        return Part(
            budget,
            {rung: Measured.from_tensors(rung, tensors) for rung in rungs},
            {name.removeprefix(_TABLE): _unpacked(tensor) for name, tensor in tables.items()},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What is known after a step."""

    name: str
    number: int
    """From 1."""
    num_steps: int
    seconds: float
    figures: dict[str, float]
    """Of its rung; none of a step that is no rung."""


def steps_of(ladder: Ladder | None) -> tuple[str, ...]:
    """Returns the steps of a part in order."""
    return LADDER_RUNGS if ladder else NETWORK_STEPS


def run_part(
    subject: Subject, ladder: Ladder | None, part: Part, *, seed: int, scanned_images: int, num_done: int = 0
) -> Iterator[Step]:
    """Measures the steps of a part that are left, and adds what they find to `part`.

    Args:
        subject: What is assessed.
        ladder: Budget and options; None for the part about the network itself.
        part: What earlier steps measured.
        seed: Of everything random.
        scanned_images: Most images of the selection that every site is measured on.
        num_done: Number of those steps.

    Yields:
        A report after every step.
    """
    reference, steps = subject.reference, steps_of(ladder)
    for number, name in enumerate(steps[num_done:], start=num_done + 1):
        start = time.perf_counter()
        if name in _MEASUREMENTS:
            part.tables |= _MEASUREMENTS[name](subject, part, scanned_images, seed)
        else:
            part.rungs[name] = _measure(name, subject, ladder, part, seed)
        figures = _step_figures(reference, part.rungs[name]) if name in part.rungs else {}
        seconds = time.perf_counter() - start
        yield Step(name=name, number=number, num_steps=len(steps), seconds=seconds, figures=figures)


def summarize(subject: Subject, part: Part) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    """Returns the figures of a part's rungs as `<rung>/<figure>`, and all its tables.

    The table `rungs` has the fields of `record.Rung`, `classes` the share of the images that is given each class, and
    of the rung `LABELS` that of the images that are labelled so.
    """
    reference = subject.reference
    rows: list[dict[str, Any]] = []
    shares = _shares(LABELS, subject, class_shares(reference, reference.labels_B))
    for rung, measured in part.rungs.items():
        row, predictions_B = _row(reference, measured)
        worst_class = subject.class_names[row["worst_class"]]
        budget = INT8 * subject.network.num_sites if rung == "int8" else part.budget
        rows.append({"rung": rung, "budget": budget} | row | {"worst_class": worst_class})
        shares += _shares(rung, subject, class_shares(reference, predictions_B))
    table = pd.DataFrame(rows).astype({"budget": "Int64"})
    metrics = {f"{row['rung']}/{name}": float(row[name]) for row in rows for name in METRICS}
    return metrics, {RUNGS: table, CLASSES: pd.DataFrame(shares), **part.tables}


def _shares(rung: str, subject: Subject, share_K: np.ndarray) -> list[dict[str, Any]]:
    by_class = zip(subject.class_names, share_K, strict=True)
    return [{"rung": rung, "class_name": name, "share": share} for name, share in by_class if share]


def _measure(name: str, subject: Subject, ladder: Ladder | None, part: Part, seed: int) -> Measured:
    if ladder:
        return measure_rung(name, subject, ladder, seed=seed, earlier=part.rungs)
    return full_precision(subject) if name == "fp" else everywhere(subject)


def _row(reference: Reference, measured: Measured) -> tuple[dict[str, Any], np.ndarray]:
    """Returns the figures of the median draw with what is known of all draws, and its predictions."""
    predictions_DB = measured.predictions_DB.numpy()
    accuracies_D = (predictions_DB == reference.labels_B).mean(axis=1)
    predictions_B = predictions_DB[median_draw(accuracies_D)]
    figures = figures_of(reference, predictions_B)
    row = {name: getattr(figures, name) for name in figures.__dataclass_fields__}
    several = len(predictions_DB) > 1
    row |= {"draws": len(predictions_DB), "worst_draw_accuracy": float(accuracies_D.min()) if several else None}
    return row | {"passes_per_image": measured.passes_per_image}, predictions_B


def _step_figures(reference: Reference, measured: Measured) -> dict[str, float]:
    row, _ = _row(reference, measured)
    return {name: float(row[name]) for name in ("accuracy", "drop", "flips", "passes_per_image")}


def _packed(table: pd.DataFrame) -> Tensor:
    """Returns a table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _unpacked(tensor: Tensor) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(tensor.numpy().tobytes()))


_MEASUREMENTS: dict[str, Callable[[Subject, Part, int, int], dict[str, pd.DataFrame]]] = {
    "sites": lambda subject, part, num_images, _: measure_all_sites(subject, part.rungs["int8"], num_images),
    "channels": lambda subject, part, num_images, _: measure_channels(subject, num_images),
    "cures": lambda subject, part, num_images, seed: measure_repairs(
        subject, part.tables["sites"], part.tables["links"], num_images, seed=seed
    ),
}
"""Steps that are no rungs."""
