"""`onnx:FILE`: a classifier that ONNX Runtime runs; it has no gradients, and nothing here is trained from it."""

from pathlib import Path

from search_spaces.models import ModelSpec
from trainables.data.view import View
from trainables.models.given import Opened, Settings
from trainables.runtimes.onnxruntime import OnnxNetwork


def open_onnx(spec: ModelSpec) -> Opened:
    """Reads the file.

    A file tells nothing of its images but their size, and only where that is fixed: mean, standard deviation and class
    names are the user's to give.

    Args:
        spec: Of kind `onnx`.

    Raises:
        UnavailableError: The file, or one that it names, is missing.
        ConfigError: It is no float classifier of images, or has no site.
    """
    network = OnnxNetwork(Path(spec.name))
    size = network.file.image_size
    return Opened(
        module=network, architecture=Path(spec.name).stem, settings=Settings(view=View(*size) if size else None)
    )
