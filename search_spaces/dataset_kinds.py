"""Kinds of datasets: what is known of each before it is loaded. Needs nothing, as `search_spaces.names`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """What is known of a kind of dataset before it is loaded."""

    image_size: int
    """Default height and width in pixels."""
    is_bundled: bool = False
    """Whether an installation brings the images along."""
    place: str = ""
    """Word for what stands behind `kind:` in a dataset's name; empty for a single, known dataset."""
    num_images: int | None = None
    """Number of images of all splits; a sample on disk may hold fewer. None where only the files tell."""
    num_training: int | None = None
    """Number of images of the official training part; None where there is none, or only the files tell."""
    stored_per_seen: float = 1.0
    """Ratio of the height and width kept in memory to those that networks see."""


# Training crops need a margin around what evaluation sees: 256 stored pixels for 224, as is usual.
STORED_PER_SEEN = 256 / 224
DATASETS: dict[str, DatasetInfo] = {
    "digits": DatasetInfo(image_size=32, is_bundled=True, num_images=1797),
    "mnist-5k": DatasetInfo(image_size=32, is_bundled=True, num_images=5000),
    "cifar10": DatasetInfo(image_size=32, num_images=60_000, num_training=50_000),
    "oxford-iiit-pet": DatasetInfo(image_size=224, num_images=7349, num_training=3680, stored_per_seen=STORED_PER_SEEN),
    "folder": DatasetInfo(image_size=224, place="PATH", stored_per_seen=STORED_PER_SEEN),
    "parquet": DatasetInfo(image_size=224, place="URI", stored_per_seen=STORED_PER_SEEN),
}
DATASET_FORMS = tuple(f"{kind}:{info.place}" if info.place else kind for kind, info in DATASETS.items())
