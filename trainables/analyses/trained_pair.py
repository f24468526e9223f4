"""A trained pair as analyses see it, and the unit of work that an analysis is made of.

An analysis is a function from its settings and its subjects to a list of units. A unit is computed and saved as a
whole, so an interrupted analysis goes on with the units that are missing. Units share what the subjects remember:
the policy's bit-widths and the full-precision answers of a split are computed once.
"""

import copy
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError, unknown_name
from search_spaces.names import Goal
from trainables.data.images import TEST, ImageData, Split
from trainables.evaluation import EVALUATION_BATCH, Classified, classify, classify_quantized, outputs
from trainables.quant.student import QuantizedStudent
from trainables.stages.pair import Pair

# B = images of a split, L = sites.

PROBE_SECONDS = 0.5
"""How long an estimate times passes; a single small one says little on a busy machine."""
SUBSET_SEED = 0
"""Of the images that `max_images` keeps: not a setting, so that all pairs of all sweeps share them."""
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
        self.recipe, self.student, self.data = pair.recipe, pair.student, data
        self.site_names = [site.name for site in pair.student.sites]
        """The sites in the order of execution."""
        self.white_box = QuantizedStudent(
            copy.deepcopy(white_box),
            weight_bit_width=pair.recipe.weight_bit_width,
            scale_quantile=pair.recipe.scale_quantile,
            range_scope=pair.student.range_scope,
            sites=pair.student.placement,
        )
        self.white_box.eval().requires_grad_(False)
        self._forget()

    def _forget(self) -> None:
        """Starts with nothing remembered; what follows are functions of the name of a split."""
        # Per subject, not per class: a cache on a method would keep every subject alive.
        self.bit_width_BL = cache(lambda name: outputs(self.pair.bit_widths, self.split(name), self.data.view))
        """Function that returns what the policy chooses for every image, int64 on the CPU."""
        self.full_precision = cache(
            lambda name, network=self.student: classify(network, self.split(name), self.data.view)
        )
        """Function that returns a split as the student, or another network, sees it at full precision."""
        self.quantized = cache(lambda name: self.classify(name, self.bit_width_BL(name)))
        """Function that returns a split as the student sees it quantized by its own policy."""

    def on(self, data: ImageData) -> "Subject":
        """Returns the same networks with other images, which lie on the same device."""
        other = copy.copy(self)
        other.data = data
        other._forget()
        return other

    def with_at_most(self, max_images: int | None, splits: Sequence[str]) -> "Subject":
        """Returns the same networks with at most so many images, drawn at random, in each of some splits; None: all."""
        if max_images is None:
            return self
        kept = {name: self.split(name) for name in splits}
        for name, split in kept.items():
            if len(split) > max_images:
                positions_N = np.random.default_rng(SUBSET_SEED).permutation(len(split))[:max_images]
                kept[name] = split.take(torch.from_numpy(np.sort(positions_N)))
        return self.on(replace(self.data, splits=kept, known_sha256=None))

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

    def classify(self, split: str, bit_width_BL: Tensor, network: QuantizedStudent | None = None) -> Classified:
        """Runs a network over a split at the given bit-widths.

        Args:
            split: `train`, `validation` or `test`.
            bit_width_BL: Bits per image of the split and site; 0 leaves a site at full precision.
            network: None for the pair's own student.
        """
        return classify_quantized(network or self.student, self.split(split), self.data.view, bit_width_BL)

    def classify_partly(self, split: str, sites: Collection[int]) -> Classified:
        """Runs the student over a split with the policy's bits at some sites and full precision at the others."""
        is_quantized_L = torch.zeros(self.student.num_sites, dtype=torch.int64)
        is_quantized_L[list(sites)] = 1
        return self.classify(split, self.bit_width_BL(split) * is_quantized_L)

    def seconds_per_image(self) -> float:
        """Times quantized passes of one batch of test images, after one to warm up."""
        split = self.data.splits[TEST]
        batch = split.take(torch.arange(min(len(split), EVALUATION_BATCH)))
        bit_width_BL = torch.full((len(batch), self.student.num_sites), self.recipe.bit_widths[-1])
        classify_quantized(self.student, batch, self.data.view, bit_width_BL)
        start, num_passes = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < PROBE_SECONDS:
            classify_quantized(self.student, batch, self.data.view, bit_width_BL)
            num_passes += 1
        return elapsed / (num_passes * len(batch))


def check_opposites(robust: Subject, detrimental: Subject) -> None:
    """Refuses two subjects whose difference could come from something else than their goals.

    Raises:
        ConfigError: They are not a robust and a detrimental pair of one white box and one budget.
    """
    goals = (robust.recipe.goal, detrimental.recipe.goal)
    if goals != (Goal.ROBUST, Goal.DETRIMENTAL):
        raise ConfigError(
            f"pairs with the goals {goals[0]} and {goals[1]} are no opposites: give the robust one first and "
            "the detrimental one second."
        )
    same = ("architecture", "bit_widths", "budget", "weight_bit_width", "scale_quantile", "sites", "range_scope")
    for name in same:
        ours, theirs = getattr(robust.recipe, name), getattr(detrimental.recipe, name)
        if ours != theirs:
            raise ConfigError(
                f"the robust pair has {name} {ours} and the detrimental one {theirs}: compare pairs that differ in "
                "nothing but their goal."
            )
    theirs = detrimental.white_box.state_dict()
    if not all(tensor.equal(theirs[name]) for name, tensor in robust.white_box.state_dict().items()):
        raise ConfigError("the pairs started from different white boxes: compare pairs of one parent.")


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
