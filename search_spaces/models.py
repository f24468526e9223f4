"""Which network somebody brings, as a value: the plan hashes it, trainables.models.registry opens it."""

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict

from search_spaces.errors import ConfigError, unknown_name
from search_spaces.model import Frozen, later_field, parse
from search_spaces.uris import absolute_uri

MODELS: dict[str, str] = {
    "timm": "NAME[@FILE]",
    "torchvision": "NAME@FILE",
    "hf": "FOLDER",
    "onnx": "FILE",
    "python": "MODULE:FUNCTION",
    "trial": "UID",
}
"""What stands behind `kind:` in a network's URI."""
MODEL_FORMS = tuple(f"{kind}:{form}" for kind, form in MODELS.items())
REFUSED = {
    "pt2": "torch.export.load unpickles sample inputs and evaluates shape expressions, so a file of it can run code, "
    "and its graph has no Conv2d or Linear to quantize: give the module from before the export as "
    "python:MODULE:FUNCTION, or its state dict as timm:NAME@FILE or torchvision:NAME@FILE",
}
"""Why a kind that people may expect is not read."""
_UID = re.compile(r"[0-9a-f]{16}")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_FILES = (".safetensors", ".pt", ".pth", ".tar", ".bin", ".onnx", ".pt2")


def _absolute_model(uri: str) -> str:
    """Checks a URI and writes it in full, its path absolute: the plan, and so every uid, holds the result."""
    kind, colon, rest = uri.partition(":")
    # First of all, since every other error repeats the URI.
    if "://" in uri:
        absolute_uri(uri, what="model")
        raise ConfigError(f"model {uri!r} lies on an object store: copy it to this machine, and give its path.")
    # A file's path may hold a colon.
    if not colon or "@" in kind:
        kind, rest = ("trial" if _UID.fullmatch(uri) else "timm"), uri
        if "@" not in uri and ("/" in uri or uri.endswith(_FILES)):
            raise ConfigError(
                f"model {uri!r} is a path, which does not say of what network: give one of {', '.join(MODEL_FORMS)}."
            )
    if kind in REFUSED:
        raise ConfigError(f"model {uri!r} is not read: {REFUSED[kind]}.")
    if kind not in MODELS:
        raise unknown_name("model", uri, MODEL_FORMS)
    return f"{kind}:{_absolute_rest(kind, rest, uri)}"


def _absolute_rest(kind: str, rest: str, uri: str) -> str:
    name, at, file = rest.partition("@")
    is_complete = {
        "timm": bool(name) and bool(at) == bool(file),
        "torchvision": bool(name and file),
        "hf": bool(rest),
        "onnx": bool(rest),
        "python": _FUNCTION.fullmatch(rest) is not None,
        "trial": _UID.fullmatch(rest) is not None,
    }
    if not is_complete[kind]:
        raise ConfigError(f"model {uri!r} is incomplete: its form is {kind}:{MODELS[kind]}.")
    if kind in ("hf", "onnx"):
        return absolute_uri(rest, what="model")
    return f"{name}@{absolute_uri(file, what='model')}" if at else rest


class ModelSpec(Frozen):
    """One network that was not trained here, or that an earlier trial trained."""

    # An error shows the value otherwise, and a URI may hold credentials.
    model_config = ConfigDict(hide_input_in_errors=True)

    uri: Annotated[str, AfterValidator(_absolute_model)]
    """Network in one of `MODEL_FORMS`, its path made absolute. A name alone is timm's, 16 hex digits a trial's uid."""
    sha256: str | None = later_field(pattern=r"^[0-9a-f]{64}$")
    """Fingerprint of its weights (`trainables.models.fingerprint`), known once it was opened. Whoever opens it again
    refuses another one."""

    @property
    def kind(self) -> str:
        """The key of `MODELS`."""
        return self.uri.partition(":")[0]

    @property
    def name(self) -> str:
        """What stands behind the kind, without a file: an architecture, a folder, a function or a uid."""
        return self.uri.partition(":")[2].partition("@")[0] if self.file else self.uri.partition(":")[2]

    @property
    def file(self) -> str:
        """The absolute path of the weights, else an empty string."""
        return self.uri.partition("@")[2] if self.kind in ("timm", "torchvision") else ""


def model_spec(uri: str) -> ModelSpec:
    """Returns the specification of a network.

    Raises:
        UnknownNameError: No kind has this name.
        ConfigError: The URI is incomplete, of a kind that is not read, on an object store, or holds credentials.

    Examples:
        >>> model_spec("resnet18@/data/../weights.pt").uri, model_spec("0123456789abcdef").uri
        ('timm:resnet18@/weights.pt', 'trial:0123456789abcdef')
        >>> spec = model_spec("torchvision:resnet18@/data/weights.pt")
        >>> spec.kind, spec.name, spec.file
        ('torchvision', 'resnet18', '/data/weights.pt')
    """
    return parse(ModelSpec, {"uri": _absolute_model(uri)})


def model_slug(uri: str) -> str:
    """Returns a short form of a network's URI that files and sweeps can be called by.

    Examples:
        >>> model_slug("resnet18@/data/weights.pt"), model_slug("hf:/data/my net"), model_slug("python:nets:make")
        ('timm-resnet18', 'hf-my-net', 'python-nets-make')
    """
    spec = model_spec(uri)
    last = spec.name.rpartition("/")[2]
    return f"{spec.kind}-" + re.sub(r"[^\w.]+", "-", last).strip("-.")
