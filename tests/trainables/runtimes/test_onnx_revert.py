"""Nodes of quantized files put back to full precision, against files that ONNX Runtime wrote without these nodes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.trainables.deployment.digit_networks import depthwise_network, digits
from tests.trainables.runtimes.onnx_files import export, head, random_weights, write
from tests.trainables.runtimes.quantized_files import ON_CODES, QDQ, S8, S16, U8, U16, answers, quantize
from trainables.runtimes.onnx_blocks import QuantizedGraph
from trainables.runtimes.onnx_file import read_onnx
from trainables.runtimes.onnx_revert import reverted_model
from trainables.runtimes.ort import quantization

FORMS: dict[str, dict[str, Any]] = {
    "dynamic": {"weight_type": S8},
    "dynamic per channel, reduced range": {"weight_type": S8, "per_channel": True, "reduce_range": True},
    "QDQ": {"quant_format": QDQ},
    "QDQ per channel": {"quant_format": QDQ, "per_channel": True, "activation_type": U8, "weight_type": S8},
    "QDQ reduced range": {"quant_format": QDQ, "reduce_range": True},
    "QDQ 16 bits": {"quant_format": QDQ, "activation_type": U16, "weight_type": S8},
    "QDQ signed 16 bits": {"quant_format": QDQ, "activation_type": S16, "weight_type": S8},
    "QDQ of Conv alone": {"quant_format": QDQ, "op_types_to_quantize": ["Conv"]},
    "QOperator": {"quant_format": ON_CODES, "activation_type": U8, "weight_type": S8},
    "QOperator per channel": {"quant_format": ON_CODES, "activation_type": U8, "weight_type": S8, "per_channel": True},
}
IMAGES = digits()[0].numpy()
SHOWN = IMAGES[-24:]


def calibrated_by(form: str) -> np.ndarray | None:
    return None if form.startswith("dynamic") else IMAGES


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    return export(depthwise_network(), tmp_path_factory.mktemp("float") / "n.onnx")


def graph_of(quantized: Path, reference: Path) -> QuantizedGraph:
    return QuantizedGraph(read_onnx(quantized, is_quantized=True), read_onnx(reference))


@pytest.mark.parametrize("form", FORMS)
def test_nodes_put_back_answer_as_a_file_that_was_quantized_without_them(form, reference, tmp_path):
    quantized = quantize(reference, tmp_path / "q.onnx", calibrated_by(form), **FORMS[form])
    graph = graph_of(quantized, reference)
    places = {block.name: place for place, block in enumerate(graph.blocks) if block.has_weights}
    assert (len(places), graph.unmatched) == (7 if form == "QDQ of Conv alone" else 8, [])
    names = list(places)
    as_it_is = answers(quantized, SHOWN)
    # QOperator also leaves the pooling behind the last convolution unquantized with it.
    free = names if "QOperator" not in form else names[:6]
    tried = [[name] for name in free[1::2]] + [free[:3], free[2:6]]
    for nodes in tried:
        ours = answers(reverted_model(graph, [places[name] for name in nodes]), SHOWN)
        again = quantize(reference, tmp_path / "e.onnx", calibrated_by(form), exclude=nodes, **FORMS[form])
        theirs = answers(again, SHOWN)
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max(), err_msg=str(nodes))
        assert np.abs(theirs - as_it_is).max() > 1e-2, f"{nodes} change nothing"


@pytest.mark.parametrize("form", FORMS)
def test_a_file_with_all_nodes_put_back_is_the_reference(form, reference, tmp_path):
    quantized = quantize(reference, tmp_path / "q.onnx", calibrated_by(form), **FORMS[form])
    graph = graph_of(quantized, reference)
    whole = reverted_model(graph, range(len(graph.blocks)))
    np.testing.assert_allclose(answers(whole, SHOWN), answers(reference, SHOWN), atol=1e-4)


@pytest.mark.parametrize("form", ["dynamic", "QDQ", "QOperator"])
def test_residual_sums_and_absorbed_activations_are_put_back_too(form, tmp_path):
    layers = {"u": np.random.default_rng(1).normal(size=(4, 4, 3, 3)).astype(np.float32)}
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"], ["c"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "u"], ["d"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["d", "r"], ["s"], name="sum"),
        helper.make_node("Relu", ["s"], ["t"], name="last_relu"),
        *head("t"),
    ]
    for node in nodes:
        node.name = node.name or f"the_{node.op_type}"
    source = write(tmp_path / "n.onnx", nodes, random_weights() | layers)
    images = np.random.default_rng(2).normal(size=(80, 3, 8, 8)).astype(np.float32)
    settings = FORMS[form]
    quantized = quantize(source, tmp_path / "q.onnx", None if form == "dynamic" else images, **settings)
    graph = graph_of(quantized, source)
    named = {block.name: place for place, block in enumerate(graph.blocks)}
    if form != "dynamic":
        assert {"first", "second", "sum"} <= named.keys()
    # As above, QOperator leaves the pooling behind the sum unquantized with it.
    together = ["first", "second"] if form == "QOperator" else ["first", "second", "sum"]
    for nodes_put_back in (["first"], ["second"], together):
        chosen = [name for name in nodes_put_back if name in named]
        ours = answers(reverted_model(graph, [named[name] for name in chosen]), images[-8:])
        again = quantize(source, tmp_path / "e.onnx", None if form == "dynamic" else images, exclude=chosen, **settings)
        theirs = answers(again, images[-8:])
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max(), err_msg=str(chosen))


def test_norms_that_preprocessing_folded_into_convolutions_are_put_back_from_an_unprocessed_reference(tmp_path):
    norm = {name: np.random.default_rng(3).uniform(0.5, 2, size=4).astype(np.float32) for name in ("g", "h", "m", "v2")}
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "g", "h", "m", "v2"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["r"], name="relu"),
        *head("r"),
    ]
    source = write(tmp_path / "n.onnx", nodes, random_weights() | norm)
    quantization.shape_inference.quant_pre_process(source, tmp_path / "p.onnx", skip_symbolic_shape=True)
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(tmp_path / "p.onnx").graph.node}
    images = np.random.default_rng(2).normal(size=(80, 3, 8, 8)).astype(np.float32)
    quantized = quantize(tmp_path / "p.onnx", tmp_path / "q.onnx", images, **FORMS["QDQ"])
    graph = graph_of(quantized, source)
    (conv,) = [place for place, block in enumerate(graph.blocks) if block.name == "conv"]
    assert graph.unmatched == []
    again = quantize(tmp_path / "p.onnx", tmp_path / "e.onnx", images, exclude=["conv"], **FORMS["QDQ"])
    ours, theirs = (answers(each, images[-8:]) for each in (reverted_model(graph, [conv]), again))
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())


def test_a_file_of_a_converted_operator_set_is_matched_with_its_unconverted_reference(tmp_path):
    source = export(depthwise_network(), tmp_path / "n.onnx", opset=13)
    converted = onnx.version_converter.convert_version(onnx.load(source), 21)
    onnx.save(converted, tmp_path / "c.onnx")
    # Operator set 21 has codes of 16 bits itself.
    form = {"quant_format": QDQ, "activation_type": U16, "weight_type": S8}
    quantized = quantize(tmp_path / "c.onnx", tmp_path / "q.onnx", IMAGES, **form)
    graph = graph_of(quantized, source)
    assert (graph.reference.opset, graph.file.opset, graph.unmatched) == (13, 21, [])
    whole = reverted_model(graph, range(len(graph.blocks)))
    np.testing.assert_allclose(answers(whole, SHOWN), answers(source, SHOWN), atol=1e-4)
    one = [place for place, block in enumerate(graph.blocks) if block.name == "/6/Conv"]
    again = quantize(tmp_path / "c.onnx", tmp_path / "e.onnx", IMAGES, exclude=["/6/Conv"], **form)
    ours, theirs = (answers(each, SHOWN) for each in (reverted_model(graph, one), again))
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())


def test_layers_of_a_file_with_other_names_are_listed_as_unmatched(reference, tmp_path):
    renamed = onnx.load(reference)
    for node in renamed.graph.node:
        node.input[:] = [f"other_{name}" if name.startswith("/") else name for name in node.input]
        node.output[:] = [f"other_{name}" if name.startswith("/") else name for name in node.output]
    onnx.save(renamed, tmp_path / "r.onnx")
    quantized = quantize(tmp_path / "r.onnx", tmp_path / "q.onnx", IMAGES, **FORMS["QDQ"])
    graph = graph_of(quantized, reference)
    assert len(graph.unmatched) >= 7
    assert "/6/Conv" in graph.unmatched
