"""A file that somebody quantized, measured beside its reference: a part of an assessment (`assess --reference`)."""

from pydantic import Field

from search_spaces.model import Frozen
from search_spaces.models import ModelSpec

LARGEST_DROP = 0.02
"""Drop that a file may have unless a rule says otherwise; a fraction."""


class QuantizedFile(Frozen):
    """A quantized ONNX file of the network that is assessed."""

    model: ModelSpec
    """The file, with the checksum of its graph and weights."""
    largest_drop: float = Field(default=LARGEST_DROP, ge=0, le=1)
    """Drop that it may have; nodes are looked for where more is shown."""

    @property
    def measured(self) -> tuple[str, ...]:
        """The steps of the part, in order: the file, nodes one at a time, nodes together."""
        return "file", "nodes", "excluded"
