"""Quantized files assessed beside their references: what they cost, and nodes that ONNX Runtime then leaves out."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper

from search_spaces.errors import ConfigError, SweepError
from search_spaces.models import ModelSpec
from search_spaces.stages.quantized_file import QuantizedFile as Settings
from tests.trainables.deployment.digit_networks import CPU, NUM_TRAINING, depthwise_network, digits, test_images
from tests.trainables.runtimes.broken_files import rescaled_depthwise
from tests.trainables.runtimes.onnx_files import export, head, random_weights, write
from tests.trainables.runtimes.quantized_files import ON_CODES, QDQ, S8, U8, U16, answers, quantize
from trainables.assessment.assemble import assemble
from trainables.assessment.parts import Part, run_part, summarize
from trainables.assessment.quantized_file import measure_quantized_file
from trainables.assessment.record import Assessment, Model
from trainables.assessment.subject import Images, Subject
from trainables.models.links import find_links, rescale
from trainables.runtimes.onnx_file import read_onnx
from trainables.runtimes.onnx_quantized_file import QuantizedFile
from trainables.runtimes.onnxruntime import OnnxNetwork, open_session
from trainables.runtimes.ort import quantization

IMAGES, LABELS = digits()[0].numpy(), digits()[1].numpy()
TEST, TEST_LABELS = IMAGES[NUM_TRAINING:], LABELS[NUM_TRAINING:]
PER_TENSOR: dict[str, dict[str, Any]] = {
    "dynamic": {"weight_type": S8},
    "dynamic reduced range": {"weight_type": S8, "reduce_range": True},
    "QDQ": {"quant_format": QDQ, "activation_type": U8, "weight_type": S8},
    "QDQ 16 bits": {"quant_format": QDQ, "activation_type": U16, "weight_type": S8},
    "QOperator": {"quant_format": ON_CODES, "activation_type": U8, "weight_type": S8},
}
HEALTHY = {form: settings | {"per_channel": True} for form, settings in PER_TENSOR.items()}
FACTS, NODES = "quantized_file", "quantized_nodes"


def calibrated_by(form: str) -> np.ndarray | None:
    return None if form.startswith("dynamic") else IMAGES


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    return export(depthwise_network(), tmp_path_factory.mktemp("healthy") / "n.onnx")


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Path:
    """The same answers, with a channel whose depthwise weights are 256 times the others'."""
    return export(rescaled_depthwise(), tmp_path_factory.mktemp("broken") / "n.onnx")


def subject_of(reference: Path) -> Subject:
    chosen_on = Images.of_tensors(torch.from_numpy(IMAGES[:128]), torch.from_numpy(LABELS[:128]), CPU)
    names = tuple(map(str, range(10)))
    return Subject(network=OnnxNetwork(reference), selection=chosen_on, test=test_images(), class_names=names)


def settings_of(quantized: Path, **values: Any) -> Settings:
    return Settings(model=ModelSpec(uri=f"onnx:{quantized}"), **values)


def measured(quantized: Path, reference: Path, **values: Any) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    subject, part = subject_of(reference), Part(None)
    for _ in measure_quantized_file(subject, settings_of(quantized, **values), part, scanned_images=128):
        pass
    return summarize(subject, part)


def accuracy_of(path: Path) -> float:
    return float((answers(path, TEST).argmax(1) == TEST_LABELS).mean())


@pytest.mark.parametrize("form", HEALTHY)
def test_a_healthy_file_has_the_accuracy_of_its_runtime_and_no_nodes_to_exclude(form, healthy, tmp_path):
    quantized = quantize(healthy, tmp_path / "q.onnx", calibrated_by(form), **HEALTHY[form])
    metrics, tables = measured(quantized, healthy)
    assert metrics["file/accuracy"] == accuracy_of(quantized) > 0.95
    assert metrics["file/drop"] == pytest.approx(accuracy_of(healthy) - accuracy_of(quantized))
    flips = answers(quantized, TEST).argmax(1) != answers(healthy, TEST).argmax(1)
    (rung,) = tables["rungs"].to_dict("records")
    assert rung["flips"] == flips.mean()
    (facts,) = tables[FACTS].to_dict("records")
    assert (facts["kind"], facts["num_layers"], facts["images_per_run"]) == (form.split()[0], 8, 1)
    assert (facts["is_failing"], facts["nodes"], len(tables[NODES])) == (False, "[]", 0)


@pytest.mark.parametrize("form", PER_TENSOR)
def test_what_is_claimed_without_nodes_is_what_the_runtime_does_once_they_are_excluded(form, broken, tmp_path):
    quantized = quantize(broken, tmp_path / "q.onnx", calibrated_by(form), **PER_TENSOR[form])
    metrics, tables = measured(quantized, broken)
    (facts,) = tables[FACTS].to_dict("records")
    assert metrics["file/drop"] > 0.3
    assert facts["is_failing"]
    nodes = json.loads(facts["nodes"])
    assert "/6/Conv" in nodes, "the depthwise convolution has the weights that one scale cannot hold"
    assert len(nodes) <= 2
    assert facts["drop_excluded"] <= 0.02
    again = quantize(broken, tmp_path / "e.onnx", calibrated_by(form), exclude=nodes, **PER_TENSOR[form])
    assert facts["accuracy_excluded"] == pytest.approx(accuracy_of(again), abs=1e-9)
    first = json.loads(tables[NODES]["nodes"][0])
    assert "/6/Conv" in first
    assert tables[NODES]["accuracy"].is_monotonic_decreasing


def test_ranges_of_a_static_file_are_repaired_by_all_nodes_around_the_activation(tmp_path):
    network = copy.deepcopy(depthwise_network())
    link = find_links(network)[0]
    rescale(network, link, 0, 2.0**12)
    reference = export(network, tmp_path / "n.onnx")
    form = {"quant_format": QDQ, "activation_type": U8, "weight_type": S8, "per_channel": True}
    quantized = quantize(reference, tmp_path / "q.onnx", IMAGES, **form)
    metrics, tables = measured(quantized, reference)
    (facts,) = tables[FACTS].to_dict("records")
    nodes = json.loads(facts["nodes"])
    assert metrics["file/drop"] > 0.3
    assert len(nodes) >= 2
    assert facts["drop_excluded"] <= 0.02
    again = quantize(reference, tmp_path / "e.onnx", IMAGES, exclude=nodes, **form)
    assert facts["accuracy_excluded"] == pytest.approx(accuracy_of(again), abs=1e-9)


def test_a_stricter_bound_is_what_nodes_are_looked_for_by(broken, tmp_path):
    quantized = quantize(broken, tmp_path / "q.onnx", **PER_TENSOR["dynamic"])
    (tolerated,) = measured(quantized, broken, largest_drop=0.99)[1][FACTS].to_dict("records")
    assert (tolerated["is_failing"], tolerated["nodes"]) == (False, "[]")


def test_an_interrupted_part_goes_on_with_its_next_step_and_finds_the_same(broken, tmp_path):
    quantized = quantize(broken, tmp_path / "q.onnx", **PER_TENSOR["dynamic"])
    subject, settings = subject_of(broken), settings_of(quantized)
    whole, part = Part(None), Part(None)
    list(measure_quantized_file(subject, settings, whole, scanned_images=64))
    steps = measure_quantized_file(subject, settings, part, scanned_images=64)
    assert [next(steps).name, next(steps).name] == ["file", "nodes"]
    resumed = Part.from_tensors(part.tensors(), None)
    (last,) = measure_quantized_file(subject, settings, resumed, scanned_images=64, num_done=2)
    assert (last.name, last.number, last.num_steps) == ("excluded", 3, 3)
    pd.testing.assert_frame_equal(resumed.tables[FACTS], whole.tables[FACTS])


def test_a_file_that_demands_several_images_gets_them_and_the_last_run_is_filled_up(healthy, tmp_path):
    fixed = onnx.load(healthy)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 7
    onnx.save(fixed, tmp_path / "n.onnx")
    quantized = quantize(tmp_path / "n.onnx", tmp_path / "q.onnx", **PER_TENSOR["dynamic"])
    file = QuantizedFile(quantized, read_onnx(healthy))
    assert file.images_per_run == 7
    images = torch.from_numpy(TEST[:10])
    filled = torch.cat([images, images[-1:].expand(4, *images.shape[1:])]).numpy()
    session = open_session(onnx.load(quantized), name="of seven")
    theirs = np.concatenate([session.run(None, {"images": each})[0] for each in (filled[:7], filled[7:])])[:10]
    np.testing.assert_array_equal(file.runner()(images).numpy(), theirs)


def test_the_record_of_an_assessment_holds_the_file_and_its_rung(broken, tmp_path):
    quantized = quantize(broken, tmp_path / "q.onnx", **PER_TENSOR["dynamic"])
    found = assessed(quantized, broken)
    file = found.quantized_file
    assert file is not None
    assert (file.is_failing, file.is_enough, file.kind, file.num_images_reverted) == (True, True, "dynamic", 128)
    assert "/6/Conv" in file.nodes_to_exclude
    assert found.rung("file").budget is None
    assert [rung.rung for rung in found.rungs] == ["fp", "int8", "file"]
    assert found.verdict == "healthy"
    assert Assessment.model_validate_json(found.as_json()) == found


def assessed(quantized: Path, reference: Path) -> Assessment:
    subject, part = subject_of(reference), Part(None)
    for _ in run_part(subject, None, part, seed=0, scanned_images=32):
        pass
    tables = [measured(quantized, reference)[1], summarize(subject, part)[1]]
    model = Model(uri=f"onnx:{reference}", sha256="", architecture="n")
    return assemble(model, tables, num_images=359, num_sites=7, labels="dataset")


def test_a_reference_with_other_names_is_measured_and_its_layers_are_named_as_unmatched(broken, tmp_path):
    renamed = onnx.load(broken)
    for node in renamed.graph.node:
        node.input[:] = [f"other_{name}" if name.startswith("/") else name for name in node.input]
        node.output[:] = [f"other_{name}" if name.startswith("/") else name for name in node.output]
    onnx.save(renamed, tmp_path / "r.onnx")
    quantized = quantize(broken, tmp_path / "q.onnx", **PER_TENSOR["dynamic"])
    metrics, tables = measured(quantized, tmp_path / "r.onnx")
    (facts,) = tables[FACTS].to_dict("records")
    assert metrics["file/drop"] > 0.3
    assert json.loads(facts["nodes"]) == []
    assert len(json.loads(facts["unmatched"])) == 8


def test_nodes_without_a_name_are_counted_and_not_listed(broken, tmp_path):
    unnamed = onnx.load(broken)
    for node in unnamed.graph.node:
        node.name = ""
    onnx.save(unnamed, tmp_path / "n.onnx")
    quantized = quantize(tmp_path / "n.onnx", tmp_path / "q.onnx", **PER_TENSOR["dynamic"])
    (facts,) = measured(quantized, tmp_path / "n.onnx")[1][FACTS].to_dict("records")
    assert facts["is_failing"]
    assert facts["num_unnamed"] >= 7
    assert "/6/Conv" not in facts["nodes"]


CONV = helper.make_node("Conv", ["images", "w"], ["c"], name="conv")
SMALL = np.random.default_rng(0).normal(size=(70, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def small(tmp_path) -> tuple[Path, Path]:
    reference = write(tmp_path / "small.onnx", [CONV, *head("c")], random_weights())
    return quantize(reference, tmp_path / "small.int8.onnx", SMALL, **PER_TENSOR["QDQ"]), reference


def changed(path: Path, change: Any) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def add_foreign(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Magic", ["c"], ["m"], domain="my.library"))


def take_int8(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8


def forget_batch(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[0]


def take_other_size(model: onnx.ModelProto) -> None:
    for place in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = 16


def keep_two_gigabytes_outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(onnx.TensorProto(name="large", data_type=TensorProto.INT8, dims=[2**31, 1]))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="n.data")


def keep_weights_that_are_missing(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(onnx.TensorProto(name="lost", data_type=TensorProto.INT8, dims=[4, 1]))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="lost.data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_foreign, "operators that come from a library, my.library.Magic"),
        (take_int8, "takes INT8 images|breaks ONNX's rules"),
        (forget_batch, r"images have shape \[batch, 3, height, width\]|breaks ONNX's rules|cannot be brought"),
        (take_other_size, "takes images of 16x16 and the reference .* of 8x8"),
        (keep_two_gigabytes_outside, "keeps 2,147,483,648 bytes of weights in other files"),
        (keep_weights_that_are_missing, "weights in other files that cannot be read"),
    ],
)
def test_a_quantized_file_that_cannot_be_run_is_one_line(small, change, message):
    quantized, reference = small
    with (quantized.parent / "n.data").open("wb") as data:
        data.truncate(2**31)  # of holes: it takes no place
    with pytest.raises(SweepError, match=message) as caught:
        QuantizedFile(changed(quantized, change), read_onnx(reference))
    assert "\n" not in str(caught.value)


def test_files_in_each_others_place_and_references_of_other_networks_are_one_line(small, healthy):
    quantized, reference = small
    for message, attempt in (
        (
            "is a float model, and --reference goes with a quantized one",
            lambda: QuantizedFile(reference, read_onnx(reference)),
        ),
        ("is quantized already .* with that one as --reference", lambda: read_onnx(quantized)),
        ("has 5 classes and the reference .* 10", lambda: QuantizedFile(quantized, read_onnx(healthy))),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_open_height_and_width_run_on_any_size_and_another_file_than_planned_is_refused(small, tmp_path):
    def open_size(model: onnx.ModelProto) -> None:
        for place, name in ((2, "height"), (3, "width")):
            model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = name

    reference = changed(small[1], open_size)
    quantized = quantize(reference, tmp_path / "open.onnx", SMALL, **PER_TENSOR["QDQ"])
    run = QuantizedFile(quantized, read_onnx(reference)).runner()
    assert [run(torch.zeros(2, 3, *size)).shape for size in ((8, 8), (10, 12))] == [(2, 5)] * 2
    with pytest.raises(ConfigError, match="does not run on images of shape") as caught:
        QuantizedFile(*(small[0], read_onnx(reference))).runner()(torch.zeros(1, 3, 9, 9))
    assert "\n" not in str(caught.value)


def test_preprocessing_is_part_of_the_names_that_the_quantizer_takes(broken, tmp_path):
    quantization.shape_inference.quant_pre_process(broken, tmp_path / "p.onnx", skip_symbolic_shape=True)
    quantized = quantize(tmp_path / "p.onnx", tmp_path / "q.onnx", IMAGES, **PER_TENSOR["QDQ"])
    (facts,) = measured(quantized, broken)[1][FACTS].to_dict("records")
    nodes = json.loads(facts["nodes"])
    assert set(nodes) <= {node.name for node in onnx.load(tmp_path / "p.onnx").graph.node}
    again = quantize(tmp_path / "p.onnx", tmp_path / "e.onnx", IMAGES, exclude=nodes, **PER_TENSOR["QDQ"])
    assert facts["accuracy_excluded"] == pytest.approx(accuracy_of(again), abs=1e-9)
