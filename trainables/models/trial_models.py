"""TEMPORARY: models writes this."""

from dataclasses import dataclass

from search_spaces.datasets import DatasetSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedNetwork:
    """TEMPORARY."""

    architecture: str
    dataset: DatasetSpec
    content: bytes
    source: str
