"""An ONNX file at any bit-widths against the quantized student of the network that it was exported from."""

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper

from search_spaces.errors import ConfigError, SweepError
from tests.trainables.runtimes.onnx_files import export, head, random_weights, rescaled, shipped_classifier, write
from trainables.assessment.link_scan import scan_links
from trainables.deployment.export import bits_file
from trainables.quant.affine import fake_quantize
from trainables.quant.student import QuantizedStudent
from trainables.quant.weights import fake_quantize_weights
from trainables.runtimes.onnx_equalization import equalize_onnx
from trainables.runtimes.onnx_links import weights_of
from trainables.runtimes.onnxruntime import OnnxNetwork, open_session

NUM_IMAGES = 6


def images(size: int = 32) -> torch.Tensor:
    return torch.randn(NUM_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("architecture", "size", "dynamo"),
    [
        ("test_resnet", 32, True),
        ("test_resnet", 32, False),
        ("test_vit", 160, False),
        ("mobilenetv3_small_050", 32, False),
    ],
)
def test_file_answers_at_any_bit_widths_as_the_student_of_its_network(tmp_path, architecture, size, dynamo):
    model = timm.create_model(architecture, num_classes=7).eval()
    network = OnnxNetwork(export(model, tmp_path / "n.onnx", size=size, dynamo=dynamo))
    student = QuantizedStudent(model)
    assert network.num_sites == student.num_sites
    x = images(size)
    with torch.no_grad():
        exact = student(x)
        # One site at a time: two programs sum in another order, and a value that lands one level beside at one site
        # moves others across their boundaries at the next. One in a wrong place would change its own row.
        for bit_width_L in torch.eye(student.num_sites, dtype=torch.int64) * 3:
            bit_width_BL = bit_width_L.expand(NUM_IMAGES, -1)
            expected = student(x, bit_width_BL)
            error, effect = network(x, bit_width_BL) - expected, expected - exact
            assert error.norm() <= 0.01 * effect.norm() + 1e-5 * exact.norm()
    torch.testing.assert_close(network(x), exact, rtol=0, atol=2e-6 * exact.abs().max().item())


def test_two_bits_give_the_values_that_the_formula_gives(tmp_path):
    weights = random_weights()
    nodes = [helper.make_node("Conv", ["images", "w", "b"], ["c"]), helper.make_node("Relu", ["c"], ["r"]), *head("r")]
    network = OnnxNetwork(write(tmp_path / "n.onnx", nodes, weights), weight_bit_width=5)
    x = images(8)
    w, v = fake_quantize_weights([torch.from_numpy(weights["w"]), torch.from_numpy(weights["v"])], 5)
    relu = torch.conv2d(x, w, torch.from_numpy(weights["b"])).relu()
    bits_B = torch.tensor([1, 2, 3, 0, 9, 16])
    expected = fake_quantize(relu, bits_B).mean((2, 3)) @ v.T
    torch.testing.assert_close(network(x, bits_B[:, None]), expected, rtol=1e-5, atol=1e-5)


def test_tensors_with_the_names_of_our_inputs_and_output_change_no_answer(tmp_path):
    nodes = [helper.make_node("Conv", ["images", "w", "b"], ["c"]), helper.make_node("Relu", ["c"], ["r"]), *head("r")]
    path = write(tmp_path / "plain.onnx", nodes, random_weights())
    plain, model = OnnxNetwork(path), onnx.load(path)
    names = {"y": "logits", "r": "bit_width_BL", "images": "x", "flat": "images"}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    onnx.save(model, tmp_path / "taken.onnx")
    taken = OnnxNetwork(tmp_path / "taken.onnx")
    x, bit_width_BL = images(8), torch.tensor([1, 2, 3, 0, 9, 16])[:, None]
    assert taken(x).equal(plain(x))
    assert taken(x, bit_width_BL).equal(plain(x, bit_width_BL))
    session = open_session(bits_file(taken, (8, 8)), name="the exported file")
    feeds = {"images": x.numpy(), "bit_width_BL": bit_width_BL.numpy().astype(np.int32)}
    np.testing.assert_allclose(session.run(None, feeds)[0], plain(x, bit_width_BL).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
def test_all_operator_sets_since_11_give_one_answer(tmp_path, opset):
    nodes = [helper.make_node("Conv", ["images", "w"], ["c"]), *head("c")]
    bits = torch.full((NUM_IMAGES, 1), 3)
    answers = [
        OnnxNetwork(write(tmp_path / f"{each}.onnx", nodes, random_weights(), opset=each))(images(8), bits)
        for each in (opset, 17)
    ]
    torch.testing.assert_close(*answers)


def test_an_older_operator_set_is_converted(tmp_path):
    nodes = [helper.make_node("Conv", ["images", "w"], ["c"]), *head("c")]
    nodes[-1].input.append("bias")  # which may not be left out before opset 11
    weights = random_weights() | {"bias": np.zeros(5, np.float32)}
    network = OnnxNetwork(write(tmp_path / "n.onnx", nodes, weights, opset=9))
    assert network(images(8), torch.full((NUM_IMAGES, 1), 3)).shape == (NUM_IMAGES, 5)


def test_site_lies_behind_an_activation_that_is_spelled_in_several_nodes(tmp_path):
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], name="conv"),
        helper.make_node("Reshape", ["b", "shape"], ["b4"]),
        helper.make_node("Add", ["c", "b4"], ["biased"]),
        helper.make_node("Add", ["biased", "three"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "zero", "six"], ["clipped"]),
        helper.make_node("Mul", ["biased", "clipped"], ["product"]),
        helper.make_node("Div", ["product", "six"], ["hardswish"]),
        *head("hardswish"),
    ]
    numbers = {name: np.float32(value) for name, value in {"zero": 0, "three": 3, "six": 6}.items()}
    weights = random_weights() | numbers | {"shape": np.array([1, 4, 1, 1])}
    (site,) = OnnxNetwork(write(tmp_path / "n.onnx", nodes, weights)).sites
    assert (site.name, site.node) == ("conv", "hardswish")


def test_site_ends_before_a_residual_sum(tmp_path):
    weights = random_weights(channels=3)
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Add", ["r", "images"], ["sum"]),
        *head("sum"),
    ]
    (site,) = OnnxNetwork(write(tmp_path / "n.onnx", nodes, weights)).sites
    assert site.node == "r"


def test_logits_are_what_goes_into_a_final_softmax(tmp_path):
    nodes = [helper.make_node("Conv", ["images", "w"], ["c"]), *head("c")]
    nodes[-1].output[0] = "z"
    nodes += [helper.make_node("Softmax", ["z"], ["p"], axis=1), helper.make_node("Identity", ["p"], ["y"])]
    network = OnnxNetwork(write(tmp_path / "n.onnx", nodes, random_weights()))
    assert network(images(8)).sum(dim=1).sub(1).abs().min() > 0.01
    assert network.num_sites == 1


def test_observed_activations_are_those_that_the_network_goes_on_with(tmp_path):
    model = timm.create_model("test_resnet", num_classes=7).eval()
    network, student = OnnxNetwork(export(model, tmp_path / "n.onnx")), QuantizedStudent(model)
    seen: dict[int, torch.Tensor] = {}
    expected: dict[int, torch.Tensor] = {}
    bit_width_BL = torch.full((NUM_IMAGES, student.num_sites), 2)
    with torch.no_grad():
        student.observe(images(), None, lambda index, x: expected.setdefault(index, x.clone()))
    network.observe(images(), None, seen.setdefault)
    assert list(seen) == list(expected)
    for index, x in expected.items():
        torch.testing.assert_close(seen[index], x, rtol=1e-4, atol=1e-4)
    few: dict[int, torch.Tensor] = {}
    network.observe(images(), bit_width_BL, few.setdefault)
    assert {len(x[0].unique()) <= 4 for x in few.values()} == {True}


def test_file_of_one_image_per_run_runs_them_one_by_one(tmp_path):
    nodes = [helper.make_node("Conv", ["images", "w"], ["c"]), *head("c")]
    bits = torch.arange(1, NUM_IMAGES + 1)[:, None]
    shapes = [((batch, 3, 8, 8), (batch, 5)) for batch in (1, "batch")]
    answers = [
        OnnxNetwork(write(tmp_path / f"{i}.onnx", nodes, random_weights(), shape=shape, output=output))
        for i, (shape, output) in enumerate(shapes)
    ]
    torch.testing.assert_close(answers[0](images(8), bits), answers[1](images(8), bits))


CONV = helper.make_node("Conv", ["images", "w"], ["c"])
FLATTEN = helper.make_node("Flatten", ["images"], ["flat"])
FOREIGN = helper.make_node("Magic", ["c"], ["m"], domain="my.library")
QUANTIZED = helper.make_node("DynamicQuantizeLinear", ["c"], ["q", "scale", "zero_point"])


@pytest.mark.parametrize(
    ("nodes", "settings", "message"),
    [
        ([CONV, FOREIGN, *head("m")], {}, "operators that come from a library, my.library.Magic"),
        ([CONV, QUANTIZED, *head("c")], {}, "quantized already .1 nodes such as DynamicQuantizeLinear"),
        ([CONV, *head("c")], {"shape": (1, 4, 8, 8)}, r"shape \[1, 4, 8, 8\]: images have shape"),
        ([CONV, *head("c")], {"shape": (1, 8, 8)}, "breaks ONNX's rules|images have shape"),
        ([CONV, *head("c")], {"element_type": TensorProto.INT8}, "takes INT8 images|breaks ONNX's rules"),
        ([CONV], {"output": ("batch", 4, 6, 6)}, "a classifier has one of shape .batch, classes."),
        ([FLATTEN, helper.make_node("Gemm", ["flat", "u"], ["y"])], {}, "no site"),
    ],
)
def test_what_is_no_float_classifier_of_images_is_refused_in_one_line(tmp_path, nodes, settings, message):
    weights = random_weights() | {"u": np.ones((192, 5), np.float32)}
    nodes = [*nodes[:-1], onnx.NodeProto.FromString(nodes[-1].SerializeToString())]
    nodes[-1].output[0] = "y"
    path = write(tmp_path / "n.onnx", nodes, weights, **settings)
    with pytest.raises(ConfigError, match=message) as caught:
        OnnxNetwork(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"version https://git-lfs", bytes(range(256)) * 9])
def test_a_file_that_is_no_onnx_model_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "n.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match="no ONNX") as caught:
        OnnxNetwork(tmp_path / "n.onnx")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_and_missing_external_data_are_refused_in_one_line(tmp_path):
    nodes = [CONV, *head("c")]
    path = write(tmp_path / "n.onnx", nodes, random_weights())
    whole = onnx.load(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"cut off|breaks ONNX's rules"):
        OnnxNetwork(path)
    onnx.save(whole, path, save_as_external_data=True, location="n.data", size_threshold=0)
    OnnxNetwork(path)
    (tmp_path / "n.data").unlink()
    with pytest.raises(SweepError, match="weights in other files that cannot be read") as caught:
        OnnxNetwork(path)
    assert "\n" not in str(caught.value)


def test_two_gigabytes_of_external_data_are_refused_before_they_are_read(tmp_path):
    path = write(tmp_path / "n.onnx", [CONV, *head("c")], random_weights())
    model = onnx.load(path)
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(onnx.TensorProto(name="large", data_type=TensorProto.FLOAT, dims=[2**29, 1]))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="n.data")
    path.write_bytes(model.SerializeToString())
    with (tmp_path / "n.data").open("wb") as data:
        data.truncate(2**31)  # of holes: it takes no place
    with pytest.raises(ConfigError, match=r"keeps 2,147,483,648 bytes of weights in other files") as caught:
        OnnxNetwork(path)
    assert "\n" not in str(caught.value)


def test_external_data_outside_of_the_folder_is_not_read(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    path = write(folder / "n.onnx", [CONV, *head("c")], random_weights())
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="n.data", size_threshold=0)
    (folder / "n.data").rename(tmp_path / "n.data")
    moved = onnx.load(path, load_external_data=False)
    for tensor in moved.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../n.data"
    path.write_bytes(moved.SerializeToString())
    with pytest.raises(SweepError, match=r"cannot be read|breaks ONNX's rules"):
        OnnxNetwork(path)


def test_nan_weights_are_refused(tmp_path):
    weights = random_weights()
    weights["w"][0, 0, 0, 0] = np.nan
    with pytest.raises(ConfigError, match="NaN or infinite weights, in 'w'"):
        OnnxNetwork(write(tmp_path / "n.onnx", [CONV, *head("c")], weights))


def test_images_of_a_size_that_the_file_does_not_take_are_refused_in_one_line(tmp_path):
    network = OnnxNetwork(write(tmp_path / "n.onnx", [CONV, *head("c")], random_weights()))
    with pytest.raises(ConfigError, match="does not run on images of shape") as caught:
        network(images(9))
    assert "\n" not in str(caught.value)


def test_bit_widths_of_another_shape_are_refused(tmp_path):
    network = OnnxNetwork(write(tmp_path / "n.onnx", [CONV, *head("c")], random_weights()))
    with pytest.raises(ConfigError, match=r"shape \[6, 1\]"):
        network(images(8), torch.ones(NUM_IMAGES, 2, dtype=torch.int64))


def test_a_shipped_classifier_of_images_that_are_not_square_runs_at_any_bit_widths():
    network = OnnxNetwork(shipped_classifier(), weight_bit_width=None)
    x = torch.rand(4, 3, 48, 192, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert (network.num_sites, network.num_classes) == (53, 2)
    exact = network(x)
    sixteen, two = (network(x, torch.full((4, 53), bits)) for bits in (16, 2))
    assert (sixteen - exact).abs().max() < 0.01 < (two - exact).abs().max()


def test_a_rescaled_link_of_a_shipped_classifier_is_named_and_changes_no_bit_at_full_precision(tmp_path):
    places = {"norm": "BatchNormalization@5", "layer": "Conv@8", "channel": 3, "factor": 2.0**9}
    network = OnnxNetwork(shipped_classifier())
    changed = OnnxNetwork(rescaled(shipped_classifier(), tmp_path / "n.onnx", **places))
    x = torch.rand(8, 3, 48, 192, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(changed(x), network(x))
    eight = torch.full((8, 53), 8)
    assert (changed(x, eight) - network(x)).norm() > 10 * (network(x, eight) - network(x)).norm()
    healthy, found = (scan_links(each, each.sites) for each in (network, changed))
    assert healthy["exponent"].max() <= 2
    (row,) = found[found["exponent"] >= 8].to_dict("records")
    assert (row["link"], row["channel"], row["kind"]) == ("Conv@7 -> Conv@8", 3, "relu")


def test_equalization_undoes_a_rescaled_link_and_changes_no_bit_at_full_precision(tmp_path):
    places = {"norm": "BatchNormalization@5", "layer": "Conv@8", "channel": 3, "factor": 2.0**12}
    shipped = OnnxNetwork(shipped_classifier())
    changed = OnnxNetwork(rescaled(shipped_classifier(), tmp_path / "n.onnx", **places))
    x = torch.rand(8, 3, 48, 192, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = equalize_onnx(changed, x[:2])
    assert found.is_exact
    assert torch.equal(found.network(x), shipped(x))
    exact, eight = shipped(x), torch.full((8, 53), 8)
    before, after, natural = ((each(x, eight) - exact).norm() for each in (changed, found.network, shipped))
    assert before > 10 * natural
    assert after < 2 * natural
    assert scan_links(found.network, found.network.sites)["exponent"].max() <= 2
    # What it was made from stays as it is, and the weights of quantized passes follow those of full precision.
    assert torch.equal(changed(x, eight), OnnxNetwork(tmp_path / "n.onnx")(x, eight))
    assert (found.network(x, eight * 2) - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize(("architecture", "dynamo"), [("mobilenetv3_small_050", False), ("test_resnet", True)])
def test_links_of_a_file_are_scaled_in_all_their_constants(tmp_path, architecture, dynamo):
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=7).eval()
    network, x = OnnxNetwork(export(model, tmp_path / "n.onnx", dynamo=dynamo)), images()
    links = [link for link in network.links() if link.is_scalable]
    assert links
    for link in links:
        weights = weights_of(network.file)
        channels = len(link.ranges(weights)[0])
        factor_C = 2.0 ** np.random.default_rng(0).integers(-3, 4, channels)
        parts = [(part, factor_C) for part in link.multiplied] + [(part, 1 / factor_C) for part in link.reading]
        weights |= {part.name: part.scaled(weights, by_C) for part, by_C in parts}
        begin_C, end_C = link.ranges(weights)
        first_C, last_C = link.ranges(weights_of(network.file))
        scale_C = torch.from_numpy(factor_C)
        torch.testing.assert_close(begin_C, first_C * scale_C, rtol=1e-6, atol=0)
        torch.testing.assert_close(end_C, last_C / scale_C, rtol=1e-6, atol=0)
        assert torch.equal(network.with_weights(weights)(x), network(x)), link.name


def test_a_constant_that_something_else_reads_is_not_rewritten(tmp_path):
    draw = np.random.default_rng(0)
    weights = {name: draw.normal(size=(6, 6)).astype(np.float32) for name in ("u", "v")}
    weights |= {"t": draw.normal(size=(6, 5)).astype(np.float32)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Concat", ["pooled", "pooled"], ["doubled"], axis=1),
        helper.make_node("Flatten", ["doubled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "u"], ["m"], name="first"),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["n"], name="second"),
        helper.make_node("Relu", ["n"], ["q"]),
        helper.make_node("MatMul", ["q", "u"], ["o"], name="third"),
        helper.make_node("Sigmoid", ["o"], ["s"]),
        helper.make_node("MatMul", ["s", "t"], ["y"], name="classifier"),
    ]
    network = OnnxNetwork(write(tmp_path / "n.onnx", nodes, weights))
    assert [(link.name, link.is_scalable) for link in network.links()] == [
        ("first -> second", False),
        ("second -> third", False),
    ]
    found = equalize_onnx(network, images(8))
    assert (found.num_channels, found.is_exact) == (0, True)


def test_a_factor_that_a_constant_cannot_hold_is_left_out(tmp_path):
    draw = np.random.default_rng(0)
    shapes = {"u": (12, 6), "v": (6, 4), "t": (4, 5)}
    weights = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    # Its smallest value has no bits left to give.
    weights["u"][:, 2] *= 2.0**20
    weights["u"][0, 2] = 2.0**-149
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "u"], ["m"], name="first"),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["g"], name="second"),
        helper.make_node("Sigmoid", ["g"], ["s"]),
        helper.make_node("MatMul", ["s", "t"], ["y"], name="classifier"),
    ]
    network = OnnxNetwork(write(tmp_path / "n.onnx", nodes, weights, shape=("batch", 3, 2, 2)))
    found = equalize_onnx(network, torch.rand(4, 3, 2, 2))
    kept = weights_of(found.network.file)["u"]
    assert np.array_equal(kept[:, 2], weights["u"][:, 2])
    assert found.is_exact


@pytest.mark.parametrize("factor", [2.0**8, 2.0**-8])
def test_links_through_gemms_and_biases_are_found_by_either_layout(tmp_path, factor):
    draw = np.random.default_rng(0)
    weights = {
        "u": draw.normal(size=(12, 6)).astype(np.float32),
        "bias": draw.normal(size=6).astype(np.float32),
        "v": draw.normal(size=(4, 6)).astype(np.float32),
        "t": draw.normal(size=(4, 5)).astype(np.float32),
    }
    weights["u"][:, 2] *= factor
    weights["v"][:, 2] /= factor
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "u"], ["m"], name="first"),
        helper.make_node("Add", ["m", "bias"], ["biased"]),
        helper.make_node("Relu", ["biased"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["g"], transB=1, name="second"),
        helper.make_node("Sigmoid", ["g"], ["s"]),
        helper.make_node("MatMul", ["s", "t"], ["y"], name="classifier"),
    ]
    network = OnnxNetwork(write(tmp_path / "n.onnx", nodes, weights, shape=("batch", 3, 2, 2)))
    (row,) = scan_links(network, network.sites).to_dict("records")
    assert (row["link"], row["site"]) == ("first -> second", "first")
    assert (row["exponent"] >= 7) == (factor > 1)
    if factor > 1:
        assert row["channel"] == 2


def test_a_channel_that_is_hardly_read_stretches_nothing(tmp_path):
    draw = np.random.default_rng(0)
    shapes = {"u": (12, 6), "v": (4, 6), "t": (4, 5)}
    weights = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights["v"][:, 2] *= 2.0**-26
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "u"], ["m"], name="first"),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["g"], transB=1, name="second"),
        helper.make_node("Sigmoid", ["g"], ["s"]),
        helper.make_node("MatMul", ["s", "t"], ["y"], name="classifier"),
    ]
    network = OnnxNetwork(write(tmp_path / "n.onnx", nodes, weights, shape=("batch", 3, 2, 2)))
    (row,) = scan_links(network, network.sites).to_dict("records")
    assert row["exponent"] <= 1
