"""Writes ONNX files: checked, with what they are in their metadata, and never half written."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx

from search_spaces.errors import ConfigError, UnwritableError, one_line
from trainables.runtimes.onnx_file import MAX_BYTES


def write_onnx(model: onnx.ModelProto, path: Path, metadata: Mapping[str, object]) -> None:
    """Checks a model, shapes included, and writes it.

    Args:
        model: Gets the metadata.
        path: Where; a file that is there is replaced.
        metadata: Becomes `metadata_props`; what is no text is written as JSON.

    Raises:
        ConfigError: The model breaks ONNX's rules, or is larger than a file of protobuf can be.
        UnwritableError: The file cannot be written.
    """
    del model.metadata_props[:]
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    onnx.helper.set_model_props(model, texts)
    if model.ByteSize() > MAX_BYTES:
        raise ConfigError(f"{path} would have {model.ByteSize():,} bytes, and ONNX files hold less than 2 GiB.")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConfigError(f"{path} would break ONNX's rules: {one_line(error)[:300]}.") from error
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(model.SerializeToString())
        os.chmod(temporary, 0o644)
        temporary.replace(path)
    except OSError as error:
        raise UnwritableError(f"{path} cannot be written: {one_line(error)}.") from error


def read_metadata(model: onnx.ModelProto) -> dict[str, str]:
    """Returns what `write_onnx` wrote of the model."""
    return {each.key: each.value for each in model.metadata_props}
