"""What others would look at before they quantize: tools of AIMET, ONNX Runtime and ModelOpt, used as documented.

Each function examines a network on the same pictures and says whether its own output shows a failure. None of them
has a budget of bits that is shared between sites, nor bits per image.

Shape letters: B images, K classes, C H W image.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

DROP_BOUND = 0.02
"""A fall of the accuracy that a user would look into; the tools name none."""
SQNR_BOUND = 10.0
"""In dB: an error of a third of the signal; ONNX Runtime names no bound either."""
SCORE_RATIO = 1000.0
"""Of the most sensitive layer over the median one."""
BATCH = 64


class Labelled(NamedTuple):
    """Images as networks see them, and their classes."""

    images_BCHW: Tensor
    labels_B: Tensor


class Pictures(NamedTuple):
    """What tools calibrate on, choose on and are measured on."""

    calibration_BCHW: Tensor
    selection: Labelled
    test: Labelled


class Finding(NamedTuple):
    """What a tool says about a network."""

    notices: bool
    detail: str


@torch.inference_mode()
def accuracy(model: nn.Module, pictures: Pictures) -> float:
    """Returns the share of test images that get their label."""
    return (model(pictures.test.images_BCHW).argmax(1) == pictures.test.labels_B).double().mean().item()


def aimet(activation_bits: int) -> Callable[[nn.Module, Pictures], Finding]:
    """Returns AIMET's QuantAnalyzer: 8-bit weights, batch norms folded, min-max ranges as the others have.

    Its default, `post_training_tf_enhanced`, takes several times as long: it also draws a histogram of every tensor.
    """

    def examine(model: nn.Module, pictures: Pictures) -> Finding:
        from aimet_torch.common.defs import QuantScheme
        from aimet_torch.common.utils import AimetLogger, CallbackFunc
        from aimet_torch.model_preparer import prepare_model
        from aimet_torch.quant_analyzer import QuantAnalyzer

        AimetLogger.set_level_for_all_areas(logging.ERROR)
        scores: list[float] = []

        def score(quantized: nn.Module, _: Any) -> float:
            scores.append(accuracy(quantized, pictures))
            return scores[-1]

        def calibrate(quantized: nn.Module, _: Any) -> None:
            with torch.inference_mode():
                quantized(pictures.calibration_BCHW)

        analyzer = QuantAnalyzer(
            prepare_model(model),
            pictures.test.images_BCHW[:1],
            forward_pass_callback=CallbackFunc(calibrate, None),
            eval_callback=CallbackFunc(score, None),
        )
        with tempfile.TemporaryDirectory() as folder:
            analyzer.analyze(
                quant_scheme=QuantScheme.post_training_tf,
                default_param_bw=8,
                default_output_bw=activation_bits,
                results_dir=folder,
            )
            by_layer = json.loads((Path(folder) / "per_layer_quant_enabled.json").read_text())
        # The first three evaluations are those that it logs: FP32, weights only, activations only.
        full, weights, activations = scores[:3]
        layer = min(by_layer, key=lambda name: by_layer[name])
        lowest = min(weights, activations, by_layer[layer])
        detail = (
            f"FP32 {100 * full:.1f} %, W8A32 {100 * weights:.1f}, W32A{activation_bits} {100 * activations:.1f}, "
            f"least of a layer {100 * by_layer[layer]:.1f} ({layer})"
        )
        return Finding(full - lowest > DROP_BOUND, detail)

    return examine


def modelopt(model: nn.Module, pictures: Pictures) -> Finding:
    """Runs ModelOpt's auto_quantize with the format that it names for convolutional networks, at 8 effective bits."""
    import modelopt.torch.quantization as mtq

    full = accuracy(model, pictures)
    images_BCHW, labels_B = pictures.selection
    batches = list(zip(images_BCHW.split(BATCH), labels_B.split(BATCH), strict=True))
    quantized, state = mtq.auto_quantize(
        model.requires_grad_(True),
        constraints={"effective_bits": 8.0},
        quantization_formats=[mtq.INT8_DEFAULT_CFG],
        data_loader=batches,
        forward_step=lambda network, batch: network(batch[0]),
        loss_func=lambda logits_BK, batch: cross_entropy(logits_BK, batch[1]),
        num_calib_steps=len(batches),
        num_score_steps=len(batches),
    )
    scores = {name: max(each["scores"]) for name, each in state["candidate_stats"].items()}
    layer = max(scores, key=lambda name: scores[name])
    ratio = scores[layer] / max(median(scores.values()), 1e-30)
    int8 = accuracy(quantized, pictures)
    detail = f"int8 {100 * int8:.1f} % of {100 * full:.1f}, highest score {ratio:,.0f} times the median ({layer})"
    return Finding(full - int8 > DROP_BOUND or ratio > SCORE_RATIO, detail)


def onnxruntime_static(model: nn.Module, pictures: Pictures) -> Finding:
    """Quantizes statically with the defaults after `quant_pre_process`, and compares tensors with qdq_loss_debug."""
    from onnxruntime.quantization import qdq_loss_debug as debug
    from onnxruntime.quantization import quantize_static

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        float_file, int8_file = _exported(model, folder), folder / "int8.onnx"
        quantize_static(float_file, int8_file, _reader(pictures.calibration_BCHW))
        found: dict[Path, dict[str, Any]] = {}
        for file in (float_file, int8_file):
            shown = folder / f"shown-{file.name}"
            debug.modify_model_output_intermediate_tensors(file, shown)
            found[file] = debug.collect_activations(str(shown), _reader(pictures.test.images_BCHW))
        pairs = debug.create_activation_matching(found[int8_file], found[float_file])
        # Tensors that the quantizer made have no counterpart, which compute_activation_error does not expect.
        errors = debug.compute_activation_error({name: pair for name, pair in pairs.items() if pair.get("float")})
        # The other figure, before over after one quantizer, counts a Relu that was merged into it as an error.
        sqnr = {name: error["xmodel_err"] for name, error in errors.items()}
        sqnr |= debug.compute_weight_error(debug.create_weight_matching(str(float_file), str(int8_file)))
        full, int8 = (_file_accuracy(file, pictures, BATCH) for file in (float_file, int8_file))
    least = min(sqnr, key=lambda name: sqnr[name])
    detail = f"int8 {100 * int8:.1f} % of {100 * full:.1f}, least SQNR {sqnr[least]:.1f} dB ({least})"
    return Finding(full - int8 > DROP_BOUND or sqnr[least] < SQNR_BOUND, detail)


def onnxruntime_dynamic(model: nn.Module, pictures: Pictures) -> Finding:
    """Quantizes dynamically; its ranges span a batch, so images are run one by one, as a deployed network sees them."""
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as name:
        float_file, int8_file = _exported(model, Path(name)), Path(name) / "int8.onnx"
        quantize_dynamic(float_file, int8_file)
        full, int8 = (_file_accuracy(file, pictures, 1) for file in (float_file, int8_file))
    return Finding(full - int8 > DROP_BOUND, f"int8 {100 * int8:.1f} % of {100 * full:.1f}")


def _exported(model: nn.Module, folder: Path) -> Path:
    """Writes a network as ONNX and prepares it as ONNX Runtime advises."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    file, prepared = folder / "model.onnx", folder / "prepared.onnx"
    weight = next(model.parameters())
    images_BCHW = weight.new_zeros(1, 3, 32, 32)
    torch.onnx.export(
        model, (images_BCHW,), str(file), input_names=["images"], dynamic_axes={"images": {0: "batch"}}, dynamo=False
    )
    quant_pre_process(file, prepared)
    return prepared


def _file_accuracy(file: Path, pictures: Pictures, batch_size: int) -> float:
    """Returns the accuracy of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    logits_BK = [session.run(None, batch)[0] for batch in _feeds(pictures.test.images_BCHW, batch_size)]
    return float((np.concatenate(logits_BK).argmax(1) == pictures.test.labels_B.numpy()).mean())


def _feeds(images_BCHW: Tensor, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    return ({"images": batch.numpy()} for batch in images_BCHW.split(batch_size))


def _reader(images_BCHW: Tensor) -> Any:
    """Returns images as ONNX Runtime's calibration wants them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = _feeds(images_BCHW, BATCH)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    return Reader()
