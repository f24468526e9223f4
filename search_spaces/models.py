"""Networks that somebody else trained, as values: the plan hashes them, `trainables.models` opens them."""

from search_spaces.model import Frozen


class ModelSpec(Frozen):
    """A network by its URI, and the checksum of its weights."""

    uri: str
    """Where it comes from, e.g. `timm:resnet18@/models/mine.safetensors`."""
    sha256: str | None = None
    """Checksum of its weights, in hex; None before they were read."""
