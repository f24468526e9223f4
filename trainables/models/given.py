"""TEMPORARY: models writes this."""

from dataclasses import dataclass

from torch import nn

from trainables.data.view import View


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenNetwork:
    """TEMPORARY."""

    uri: str
    architecture: str
    sha256: str
    module: nn.Module
    view: View | None = None
    interpolation: str | None = None
    crop: float | None = None
    class_names: tuple[str, ...] | None = None
    num_classes: int
