"""The part of an assessment about companions: what an answer depends on the images that share its batch.

Ranges are over a batch here, whatever the rest of the assessment does. Drops and flips are against the same network at
the same bits with every image alone.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from search_spaces.stages.assessment import INT8
from search_spaces.stages.companions import Companions
from trainables.assessment.figures import Reference, figures_of, median_draw
from trainables.assessment.parts import Part, Step
from trainables.assessment.subject import Images, Subject
from trainables.attacks.companions import (
    loudest_and_others,
    loudness,
    optimize,
    predict,
    predict_beside,
    predict_in_batches,
)
from trainables.attacks.space import Space
from trainables.attacks.uniform import uniform
from trainables.quant.student import QuantizedStudent

# B = images, N = companions, D = draws, L = sites, C H W = image.

TABLE = "companions"
ALONE, BATCH, PADDING, REAL, OPTIMIZED = "alone", "batch", "padding", "real", "optimized"
"""What is with an image: nothing, a batch of random images, padding, a real image, or one that was optimized."""
FIGURES = (
    *("accuracy", "accuracy_low", "accuracy_high", "drop", "drop_low", "drop_high"),
    *("flips", "flips_low", "flips_high"),
)
COLUMNS = ("budget", "companion", "which", "batch_size", "num_images", "draws", *FIGURES, "worst_draw_accuracy")
Row = dict[str, Any]


def measure_companions(
    subject: Subject, settings: Companions, part: Part, *, seed: int, num_done: int = 0
) -> Iterator[Step]:
    """Measures the steps that are left, and adds what they find to the table `companions` of `part`.

    The columns are `COLUMNS`: `budget` is the sum of an image's bits, `which` says what the companion is, and figures
    of several draws are those of the median one.

    Yields:
        A report after every step, with the worst drop that it found.
    """
    for number, name in enumerate(settings.measured[num_done:], start=num_done + 1):
        start = time.perf_counter()
        allocation, _, what = name.partition("/")
        total = 0 if allocation == "int8" else int(allocation.removesuffix("b"))
        measurement = _Measurement(subject, settings, total, seed)
        rows = _MEASUREMENTS[what](measurement)
        earlier = [part.tables[TABLE]] if TABLE in part.tables else []
        found = pd.DataFrame(rows, columns=list(COLUMNS))
        part.tables[TABLE] = pd.concat([*earlier, found], ignore_index=True)
        worst = max(rows, key=lambda row: row["drop"])
        figures = {name: float(worst[name]) for name in ("accuracy", "drop", "flips")}
        seconds = time.perf_counter() - start
        yield Step(name=name, number=number, num_steps=len(settings.measured), seconds=seconds, figures=figures)


def summarize_companions(part: Part) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    """Returns `companions/<budget>b_worst_drop`, the drop by the worst single companion at every budget, and tables."""
    table = part.tables[TABLE]
    worst = worst_companions(table)
    drops = zip(worst["budget"].tolist(), worst["drop"].tolist(), strict=True)
    return {f"companions/{budget}b_worst_drop": drop for budget, drop in drops}, {TABLE: table}


def worst_companions(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the row of the worst single companion of every budget, in the order of the table."""
    single = table[table["companion"].isin((PADDING, REAL, OPTIMIZED)) & (table["which"] != _FOR_EACH)]
    return table.loc[[rows["drop"].idxmax() for _, rows in single.groupby("budget", sort=False)]]


_FOR_EACH = "worst of all for each image"


class _Measurement:
    """One allocation of a network and the images that it is measured on."""

    def __init__(self, subject: Subject, settings: Companions, total: int, seed: int) -> None:
        assert isinstance(subject.network, QuantizedStudent), "an ONNX file has a range per image"
        self.network, self.settings = subject.network, settings
        num_sites = self.network.num_sites
        if total:
            space = Space(num_sites=num_sites, bit_widths=settings.bit_widths, budget=total)
            self.bit_width_L = uniform(1, space)[0]
        else:
            self.bit_width_L = torch.full((num_sites,), INT8)
        self.budget = int(self.bit_width_L.sum())
        test = subject.test.first(settings.images)
        self.images, self.labels_B = _read(test), test.labels_B
        self.pixels = subject.pixels.on(self.images.device)
        self.candidates = _read(subject.selection)
        self.generator = torch.Generator().manual_seed(seed)
        self.alone_B = predict(self.network, self.images, self.bit_width_L)
        self.reference = Reference(
            labels_B=self.labels_B.numpy(),
            predictions_B=self.alone_B.numpy(),
            margins_B=np.zeros(len(self.labels_B)),
            num_classes=len(subject.class_names),
        )

    def row(self, companion: str, which: str, answers_DB: Tensor, *, batch_size: int = 2) -> Row:
        """Returns the figures of the median draw."""
        accuracies_D = (answers_DB == self.labels_B).double().mean(1).numpy()
        figures = asdict(figures_of(self.reference, answers_DB[median_draw(accuracies_D)].numpy()))
        return {
            "budget": self.budget,
            "companion": companion,
            "which": which,
            "batch_size": batch_size,
            "num_images": len(self.labels_B),
            "draws": len(answers_DB),
            "worst_draw_accuracy": float(accuracies_D.min()),
        } | {name: figures[name] for name in FIGURES}

    def beside(self, companion: Tensor) -> Tensor:
        """Returns what the test images answer beside a companion."""
        return predict_beside(self.network, self.images, companion, self.bit_width_L)

    @property
    def validation(self) -> Tensor:
        """Returns the images that companions are chosen on."""
        return self.candidates[: self.settings.images]

    def validation_flips(self, companions: Iterable[Tensor]) -> list[int]:
        """Returns how many validation images each companion gives another class."""
        alone_B = predict(self.network, self.validation, self.bit_width_L)
        beside = (predict_beside(self.network, self.validation, each, self.bit_width_L) for each in companions)
        return [int((answers_B != alone_B).sum()) for answers_B in beside]

    def chosen_candidates(self) -> Tensor:
        """Returns the images that are tried as companions, the loudest first."""
        chosen = loudest_and_others(self.network, self.candidates, self.settings.candidates, self.generator)
        return self.candidates[chosen.to(self.candidates.device)]


def _batch_sizes(each: _Measurement) -> list[Row]:
    rows = [each.row(ALONE, "", each.alone_B[None], batch_size=1)]
    for size in each.settings.batch_sizes:
        if 1 < size <= len(each.labels_B):
            answers = [
                predict_in_batches(
                    each.network, each.images, each.bit_width_L, batch_size=size, generator=each.generator
                )
                for _ in range(each.settings.draws)
            ]
            rows.append(each.row(BATCH, f"{size - 1} random images", torch.stack(answers), batch_size=size))
    return rows


def _padding(each: _Measurement) -> list[Row]:
    shape = each.images.shape[1:]
    paddings = {
        "zeros after normalization": each.images.new_zeros(shape),
        "black": each.pixels.lowest.expand(shape),
        "white": each.pixels.highest.expand(shape),
    }
    return [each.row(PADDING, name, each.beside(padding)[None]) for name, padding in paddings.items()]


def _real(each: _Measurement) -> list[Row]:
    """Chooses the worst for all images on the validation images, and measures on the test images."""
    companions = each.chosen_candidates()
    flips = each.validation_flips(companions)
    answers_NB = torch.stack([each.beside(companion) for companion in companions])
    accuracies_N = (answers_NB == each.labels_B).double().mean(1)
    # Of an image that some companion breaks, that one's answer; else of one that some companion changes.
    rank_NB = 2 * (answers_NB != each.labels_B).long() + (answers_NB != each.alone_B).long()
    for_each_B = answers_NB.gather(0, rank_NB.argmax(0, keepdim=True))
    return [
        each.row(REAL, f"typical of {len(answers_NB)}", answers_NB[median_draw(accuracies_N.numpy())][None]),
        each.row(REAL, f"worst of {len(answers_NB)} for all images", answers_NB[_largest(flips)][None]),
        each.row(REAL, _FOR_EACH, for_each_B),
    ]


def _optimized(each: _Measurement) -> list[Row]:
    """Optimizes and chooses on the validation images, and measures on the test images."""
    images, pixels = each.validation, each.pixels
    noise = torch.rand(images.shape[1:], generator=each.generator).to(images)
    # What a silent channel waits for has no gradient: plain colors try the corners.
    plain = pixels.plain_colors(images.shape[1:])
    loudest = plain[loudness(each.network, plain).argmax()]
    starts = [each.chosen_candidates()[0], pixels.lowest + noise * (pixels.highest - pixels.lowest), loudest]
    made = [
        companion
        for start in starts
        for companion in optimize(
            *(each.network, images, start, each.bit_width_L, pixels),
            steps=each.settings.steps,
            generator=each.generator,
        )
    ]
    made += list(plain)
    worst = made[_largest(each.validation_flips(made))]
    return [each.row(OPTIMIZED, f"worst of {len(made)} of valid pixels", each.beside(worst)[None])]


def _largest(numbers: Sequence[int]) -> int:
    """Returns the position of the largest number, the first of equals."""
    return max(range(len(numbers)), key=numbers.__getitem__)


def _read(images: Images) -> Tensor:
    return torch.cat([images_BCHW for _, images_BCHW in images.batches()])


_MEASUREMENTS: dict[str, Callable[[_Measurement], list[Row]]] = {
    "batch_size": _batch_sizes,
    "padding": _padding,
    "real": _real,
    "optimized": _optimized,
}
