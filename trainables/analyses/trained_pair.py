"""A trained pair as analyses see it, and the unit of work that an analysis is made of.

An analysis is a function from its settings and its subjects to a list of units. A unit is computed and saved as a
whole, so an interrupted analysis goes on with the units that are missing. Units share what the subjects remember:
the policy's bit-widths and the full-precision answers of a split are computed once.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError, unknown_name
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe
from trainables.data.images import TEST, ImageData, Split
from trainables.evaluation import EVALUATION_BATCH, Classified, classify, classify_quantized
from trainables.quant.student import QuantizedStudent
from trainables.stages.pair import Pair

# B = images of a split, L = sites.

PROBE_SECONDS = 0.5
"""How long an estimate times passes; a single small one says little on a busy machine."""
Row = dict[str, Any]
"""One row of an analysis's table: text, numbers, booleans, bytes, and lists of numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A piece of an analysis that is computed and saved as a whole."""

    key: str
    """Unique within the analysis of its subjects, e.g. `test/single/7`."""
    num_images: int
    """Forward passes of single images that it takes, for the estimate of its cost."""
    rows: Callable[[], list[Row]]
    """Computes its rows."""


class Subject:
    """A pair with its white box and its data: frozen, in evaluation mode, on one device."""

    def __init__(self, pair: Pair, white_box: nn.Module, data: ImageData) -> None:
        """Freezes the networks and prepares the white box to be quantized as the student is.

        Args:
            pair: A trained pair on the device of `data`.
            white_box: The network it started from, on the same device.
            data: What it was trained on.
        """
        self.pair = pair.eval().requires_grad_(False)
        self.data = data
        self.white_box = QuantizedStudent(
            copy.deepcopy(white_box),
            weight_bit_width=pair.recipe.weight_bit_width,
            scale_quantile=pair.recipe.scale_quantile,
        )
        self.white_box.eval().requires_grad_(False)
        self._forget()

    def _forget(self) -> None:
        """Starts with nothing remembered."""
        # Per subject, not per class: a cache on a method would keep every subject alive.
        self.bit_width_BL = cache(self._bit_width_BL)
        self.full_precision = cache(self._full_precision)
        self.quantized = cache(self._quantized)
        self.white_box_full_precision = cache(self._white_box_full_precision)

    def on(self, data: ImageData) -> "Subject":
        """Returns the same networks with other images, which lie on the same device."""
        other = copy.copy(self)
        other.data = data
        other._forget()
        return other

    @property
    def recipe(self) -> PairRecipe:
        """What the pair was trained with."""
        return self.pair.recipe

    @property
    def goal(self) -> Goal:
        """What the pair was trained for."""
        return self.pair.recipe.goal

    @property
    def student(self) -> QuantizedStudent:
        """The pair's network."""
        return self.pair.student

    @property
    def site_names(self) -> list[str]:
        """The sites in the order of execution."""
        return [site.name for site in self.student.sites]

    def split(self, name: str) -> Split:
        """Returns the images of a split.

        Raises:
            UnknownNameError: The data has no split of this name.
        """
        if name not in self.data.splits:
            raise unknown_name("split", name, self.data.splits)
        return self.data.splits[name]

    def num_images(self, split: str) -> int:
        """Returns the size of a split."""
        return len(self.split(split))

    def classify(self, split: str, bit_width_BL: Tensor, *, network: QuantizedStudent | None = None) -> Classified:
        """Runs a network over a split at the given bit-widths.

        Args:
            split: `train`, `validation` or `test`.
            bit_width_BL: Bits per image of the split and site; 0 leaves a site at full precision.
            network: None for the pair's own student.
        """
        return classify_quantized(network or self.student, self.split(split), self.data.image_size, bit_width_BL)

    def seconds_per_image(self) -> float:
        """Times quantized passes of one batch of test images, after one to warm up."""
        split = self.data.splits[TEST]
        batch = Split(
            images_BCHW=split.images_BCHW[:EVALUATION_BATCH],
            labels_B=split.labels_B[:EVALUATION_BATCH],
            image_ids_B=split.image_ids_B[:EVALUATION_BATCH],
        )
        bit_width_BL = torch.full((len(batch), self.student.num_sites), self.recipe.bit_widths[-1])
        classify_quantized(self.student, batch, self.data.image_size, bit_width_BL)
        start, num_passes = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < PROBE_SECONDS:
            classify_quantized(self.student, batch, self.data.image_size, bit_width_BL)
            num_passes += 1
        return elapsed / (num_passes * len(batch))

    @torch.inference_mode()
    def _bit_width_BL(self, split: str) -> Tensor:
        """Returns what the policy chooses for every image of a split, int64 on the CPU."""
        chosen: list[Tensor] = []

        def choose(images_BCHW: Tensor) -> Tensor:
            bit_width_BL = self.pair.bit_widths(images_BCHW)
            chosen.append(bit_width_BL.cpu())
            return bit_width_BL

        classify(choose, self.split(split), self.data.image_size)
        return torch.cat(chosen)

    def _full_precision(self, split: str) -> Classified:
        """Returns a split as the student sees it at full precision."""
        return classify(self.student, self.split(split), self.data.image_size)

    def _quantized(self, split: str) -> Classified:
        """Returns a split as the student sees it quantized by its own policy."""
        return self.classify(split, self.bit_width_BL(split))

    def _white_box_full_precision(self, split: str) -> Classified:
        """Returns a split as the white box sees it at full precision."""
        return classify(self.white_box, self.split(split), self.data.image_size)


def check_opposites(robust: Subject, detrimental: Subject) -> None:
    """Refuses two subjects whose difference could come from something else than their goals.

    Raises:
        ConfigError: They are not a robust and a detrimental pair of one white box and one budget.
    """
    if (robust.goal, detrimental.goal) != (Goal.ROBUST, Goal.DETRIMENTAL):
        raise ConfigError(
            f"pairs with the goals {robust.goal} and {detrimental.goal} are no opposites: give the robust one first "
            "and the detrimental one second."
        )
    for name in ("architecture", "bit_widths", "budget", "weight_bit_width", "scale_quantile"):
        ours, theirs = getattr(robust.recipe, name), getattr(detrimental.recipe, name)
        if ours != theirs:
            raise ConfigError(
                f"the robust pair has {name} {ours} and the detrimental one {theirs}: compare pairs of one budget."
            )
    theirs = detrimental.white_box.state_dict()
    if not all(tensor.equal(theirs[name]) for name, tensor in robust.white_box.state_dict().items()):
        raise ConfigError("the pairs started from different white boxes: compare pairs of one parent.")


def rows_of(units: Sequence[Unit]) -> list[Row]:
    """Computes all units at once: the whole table of an analysis, for notebooks and tests."""
    return [row for unit in units for row in unit.rows()]


def paired_counts(before: Classified, after: Classified) -> Row:
    """Counts the images that a change costs and wins, which is all that McNemar's test needs.

    Returns:
        num_images, num_lost (right before, wrong after) and num_gained (wrong before, right after).
    """
    lost_B, gained_B = before.is_right_B & ~after.is_right_B, ~before.is_right_B & after.is_right_B
    return {
        "num_images": len(before.labels_B),
        "num_lost": int(lost_B.sum()),
        "num_gained": int(gained_B.sum()),
    }
