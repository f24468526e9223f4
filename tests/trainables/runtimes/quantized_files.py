"""Quantized ONNX files for tests, written by ONNX Runtime's own quantizer."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trainables.runtimes.onnxruntime import open_session
from trainables.runtimes.ort import quantization

U8, S8, U16, S16 = (getattr(quantization.QuantType, name) for name in ("QUInt8", "QInt8", "QUInt16", "QInt16"))
QDQ, ON_CODES = quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator
CALIBRATION_IMAGES = 64


class _Calibration(quantization.CalibrationDataReader):
    def __init__(self, name: str, images_BCHW: np.ndarray) -> None:
        self._feeds = iter([{name: image[None]} for image in images_BCHW[:CALIBRATION_IMAGES]])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantize(
    source: Path,
    to: Path,
    images_BCHW: np.ndarray | None = None,
    *,
    exclude: Sequence[str] = (),
    **settings: Any,
) -> Path:
    """Quantizes statically, calibrated by images, or dynamically where none are given."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # its advice on preprocessing
    try:
        if images_BCHW is None:
            quantization.quantize_dynamic(source, to, nodes_to_exclude=list(exclude), **settings)
        else:
            name = onnx.load(source, load_external_data=False).graph.input[0].name
            reader = _Calibration(name, images_BCHW)
            quantization.quantize_static(source, to, reader, nodes_to_exclude=list(exclude), **settings)
    finally:
        logging.root.setLevel(level)
    return to


def answers(model: Path | onnx.ModelProto, images_BCHW: np.ndarray) -> np.ndarray:
    """Runs a model image by image; logits_BK."""
    session = open_session(onnx.load(model) if isinstance(model, Path) else model, name="a file of a test")
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images_BCHW])
