"""ONNX files as given networks."""

import onnx
import pytest
from onnx import helper

from search_spaces.errors import ConfigError
from search_spaces.models import model_spec
from tests.trainables.runtimes.onnx_files import head, random_weights, shipped_classifier, write
from trainables.models.registry import open_network

CONV = helper.make_node("Conv", ["images", "w"], ["c"])


def test_a_shipped_classifier_opens_at_a_size_that_is_not_square():
    network = open_network(model_spec(f"onnx:{shipped_classifier()}"), image_size=(48, 192))
    assert (network.num_classes, network.view, network.architecture) == (2, None, "ch_ppocr_mobile_v2.0_cls_infer")
    assert network.module.num_sites == 53


def test_size_that_a_file_fixes_is_what_the_network_wants(tmp_path):
    network = open_network(model_spec(f"onnx:{write(tmp_path / 'n.onnx', [CONV, *head('c')], random_weights())}"))
    assert network.view is not None
    assert network.view.size == (8, 8)


def test_fingerprint_tells_weights_and_graphs_apart_and_does_not_depend_on_where_weights_lie(tmp_path):
    weights, relu = random_weights(), helper.make_node("Relu", ["c"], ["r"])
    path = write(tmp_path / "a.onnx", [CONV, *head("c")], weights)
    onnx.save(onnx.load(path), tmp_path / "b.onnx", save_as_external_data=True, location="b.data", size_threshold=0)
    write(tmp_path / "c.onnx", [CONV, relu, *head("r")], weights)
    write(tmp_path / "d.onnx", [CONV, *head("c")], weights | {"v": weights["v"] * 2})
    inline, beside, other_graph, other_weights = (
        open_network(model_spec(f"onnx:{tmp_path}/{name}.onnx")).sha256 for name in "abcd"
    )
    assert inline == beside
    assert len({inline, other_graph, other_weights}) == 3


def test_a_file_that_cannot_run_on_the_size_asked_for_is_refused_in_one_line(tmp_path):
    path = write(tmp_path / "n.onnx", [CONV, *head("c")], random_weights())
    with pytest.raises(ConfigError, match="cannot run on images of 3x9x9") as caught:
        open_network(model_spec(f"onnx:{path}"), image_size=(9, 9))
    assert "\n" not in str(caught.value)
