"""The door to ONNX Runtime: everything of it is imported here, where its telemetry is switched off first.

When it is imported, ONNX Runtime writes an identifier of the machine below the home directory, for its telemetry.
`ORT_DISABLE_TELEMETRY=0` in the environment leaves it on.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime import quantization

__all__ = ["onnxruntime", "quantization"]
