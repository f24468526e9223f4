"""Labelled images as uint8 tensors, and their stratified splits."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainables.data.view import View

# B = images, C H W = image. Images stay uint8 until a batch is made: a quarter of the memory.

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Some of the images of a dataset."""

    images_BCHW: Tensor
    """Images, uint8, in the stored size: at least the size that networks see."""
    labels_B: Tensor
    """Classes, int64 in [0, K)."""
    image_ids_B: Tensor
    """Positions in the dataset's own order, int64: one image has one id in every trial."""

    def __len__(self) -> int:
        return len(self.labels_B)

    def take(self, positions_N: Tensor) -> "Split":
        """Returns the images at some positions (int64 on the CPU), in that order."""
        there_N = positions_N.to(self.images_BCHW.device)
        return Split(
            images_BCHW=self.images_BCHW[there_N],
            labels_B=self.labels_B[there_N],
            image_ids_B=self.image_ids_B[positions_N],
        )

    def to(self, device: torch.device) -> "Split":
        """Returns the split on a device; ids stay where they are."""
        return replace(self, images_BCHW=self.images_BCHW.to(device), labels_B=self.labels_B.to(device))


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageData:
    """A dataset: its splits by name, its class names and what networks see of it."""

    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    """Without any if the images have no labels."""
    view: View
    """What networks see of every image."""
    known_sha256: str | None = None
    """Checksum that was verified before; None to compute it."""

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    def to(self, device: torch.device) -> "ImageData":
        """Returns the dataset on a device."""
        return replace(self, splits={name: split.to(device) for name, split in self.splits.items()})

    def sha256(self) -> str:
        """Returns a checksum over every pixel, label and split: equal exactly when trials see the same data."""
        return self.known_sha256 or self.computed_sha256()

    def computed_sha256(self) -> str:
        """Returns the checksum of what is in memory now."""
        digest = hashlib.sha256()
        for name in sorted(self.splits):
            split = self.splits[name]
            digest.update(f"{name}:{tuple(split.images_BCHW.shape)}".encode())
            digest.update(split.images_BCHW.cpu().contiguous().numpy().data)
            digest.update(split.labels_B.cpu().contiguous().numpy().data)
        return digest.hexdigest()


def stratified_split(labels_B: np.ndarray, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Parts positions in two so that every class keeps its share in both.

    Args:
        labels_B: Class of every image, integers.
        fraction: Share of every class that goes to the second part, in (0, 1); at least one image of each, and never
            all of a class that has two.
        seed: Of the draw.

    Returns:
        The positions of the first and of the second part, each ascending.

    Examples:
        >>> rest, held_out = stratified_split(np.array([0, 0, 0, 0, 1, 1]), fraction=0.25, seed=0)
        >>> len(held_out), len(rest)
        (2, 4)
    """
    generator = np.random.default_rng(seed)
    held_out: list[np.ndarray] = []
    for label in np.unique(labels_B):
        positions = generator.permutation(np.flatnonzero(labels_B == label))
        held_out.append(positions[: max(1, min(round(fraction * len(positions)), len(positions) - 1))])
    second = np.sort(np.concatenate(held_out))
    first = np.setdiff1d(np.arange(len(labels_B)), second)
    return first, second


def stratified_subset(labels_B: np.ndarray, *, count: int, least: int, seed: int) -> np.ndarray:
    """Draws positions so that every class keeps its share; a larger draw holds every smaller one of the same seed.

    Args:
        labels_B: Class of every image, integers.
        count: How many to draw, at most all.
        least: Images that every class keeps, however small its share, if it has them and `count` allows it.
        seed: Of the draw.

    Returns:
        Positions, ascending.

    Examples:
        >>> labels_B = np.repeat([0, 1], [60, 20])
        >>> np.bincount(labels_B[stratified_subset(labels_B, count=8, least=1, seed=0)]).tolist()
        [6, 2]
    """
    generator = np.random.default_rng(seed)
    # Sainte-Lague: of n images of a class the i-th is taken when (i + 1/2) / n of everything is. Equal shares, as
    # classes of equal size have, go in random order.
    turn_B = np.empty(len(labels_B))
    for label in np.unique(labels_B):
        positions = generator.permutation(np.flatnonzero(labels_B == label))
        turn_B[positions] = (np.arange(len(positions)) + 0.5) / len(positions)
        turn_B[positions[:least]] -= 1
    order = np.lexsort((generator.random(len(labels_B)), turn_B))
    return np.sort(order[:count])


def make_splits(
    images_BCHW: Tensor, labels_B: np.ndarray, *, test_B: np.ndarray, validation_fraction: float, seed: int
) -> dict[str, Split]:
    """Builds the three splits from the positions of the test images.

    Args:
        images_BCHW: All images, uint8.
        labels_B: Their classes.
        test_B: Positions of the test images.
        validation_fraction: Share of the other images, per class, to select on.
        seed: Of the validation draw.
    """
    training_B = np.setdiff1d(np.arange(len(labels_B)), test_B)
    kept, validation = stratified_split(labels_B[training_B], fraction=validation_fraction, seed=seed)
    positions = {TRAIN: training_B[kept], VALIDATION: training_B[validation], TEST: np.sort(test_B)}
    all_labels_B = torch.from_numpy(labels_B.astype(np.int64))
    everything = Split(images_BCHW=images_BCHW, labels_B=all_labels_B, image_ids_B=torch.arange(len(labels_B)))
    return {name: everything.take(torch.from_numpy(where)) for name, where in positions.items()}
