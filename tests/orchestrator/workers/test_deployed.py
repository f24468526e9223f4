"""`export` and `verify` as a user types them: a pair of the storage, a network of a file, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from orchestrator.cli.main import main
from orchestrator.plan import Node, build_plan
from orchestrator.store.folder import CHECKPOINT, RECIPE
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers.deployed import export_served
from search_spaces.datasets import dataset_spec
from search_spaces.grids.build import Choices, build_grid
from search_spaces.model import vary
from search_spaces.recipes import PairRecipe
from search_spaces.stages.registry import Stage
from tests.trainables.runtimes.onnx_files import head, random_weights, write
from trainables.checkpoints import to_bytes, with_prefix
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST
from trainables.data.loading import load_dataset
from trainables.models.backbones import create_backbone
from trainables.quant.knapsack import bit_widths_of, select
from trainables.runtimes.onnx_write import read_metadata
from trainables.stages.pair import POLICY, STUDENT, Pair


def typed(line: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(line.split())
    return int(exit_info.value.code or 0)


def pair_of(store: Store, **changes: object) -> tuple[Node, Pair]:
    """Writes a pair that is done, with random weights and some fields of its recipe changed, to a storage."""
    plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
    node = next(each for each in plan.nodes if each.stage is Stage.PAIR)
    assert isinstance(node.recipe, PairRecipe)
    node = replace(node, recipe=vary(node.recipe, **changes))
    torch.manual_seed(0)
    pair = Pair(create_backbone("test_resnet", 10).eval(), node.recipe).eval().requires_grad_(False)
    tensors = with_prefix(STUDENT, pair.student.model.state_dict()) | with_prefix(POLICY, pair.policy.state_dict())
    folder = trial_of(store, node)
    folder.write_recipe(node, None)
    folder.write_result({}, {CHECKPOINT: to_bytes(tensors)}, seconds=1, data_sha256="data")
    return node, pair


def test_an_exported_pair_answers_as_the_pair_does(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, pair = pair_of(store)
    path = tmp_path / "pair.onnx"
    assert typed(f"export {node.uid[:7]} --to onnx -o {path} --storage {store.uri}") == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"wrote {path}",
        f"wrote {path}.policy.onnx",
    ]
    data = load_dataset(node.dataset)
    images = evaluation_batch(data.splits[TEST].images_BCHW[:41], data.view)
    network, policy = (onnxruntime.InferenceSession(str(each)) for each in (path, f"{path}.policy.onnx"))
    (profits_BLO,) = policy.run(["profits"], {"images": images.numpy()})
    bits = bit_widths_of(
        select(torch.from_numpy(profits_BLO), pair.recipe.bit_widths, pair.recipe.budget), pair.recipe.bit_widths
    )
    assert torch.equal(bits, pair.bit_widths(images))
    feeds = {"images": images.numpy(), "bit_width_BL": bits.numpy().astype(np.int32)}
    (logits_BK,) = network.run(["logits"], feeds)
    expected = pair.student(images, bits)
    assert np.array_equal(logits_BK.argmax(1), expected.argmax(1).numpy())
    for each in (path, Path(f"{path}.policy.onnx")):
        onnx.checker.check_model(onnx.load(each), full_check=True)
        facts = read_metadata(onnx.load(each))
        assert facts["source"] == f"trial:{node.uid}"
        assert json.loads(facts["budget"]) == pair.recipe.budget
        assert json.loads(facts["sites"]) == [site.name for site in pair.student.sites]
        assert {"torch", "onnx", "onnxruntime", "dptq-sweep"} <= json.loads(facts["versions"]).keys()


def test_a_pair_that_asks_no_policy_is_exported_without_one(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, _ = pair_of(store, selection="static", train=("student",))
    path = tmp_path / "pair.onnx"
    assert typed(f"export {node.uid} --to onnx -o {path} --storage {store.uri}") == 0
    assert "wrote no policy: all images get the same bits" in capsys.readouterr().out
    assert not Path(f"{path}.policy.onnx").exists()


def test_a_pair_is_verified_at_the_bits_of_its_policy_on_the_images_that_it_was_trained_for(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, pair = pair_of(store)
    path = tmp_path / "found.json"
    assert typed(f"verify {node.uid} --data digits --storage {store.uri} --json {path}") == 0
    found = json.loads(path.read_text())
    data = load_dataset(node.dataset)
    split = data.splits[TEST]
    images = evaluation_batch(split.images_BCHW, data.view)
    right_B = pair.student(images, pair.bit_widths(images)).argmax(1) == split.labels_B
    assert found["num_images"] == len(split)
    assert found["accuracy_simulated"] == right_B.double().mean().item()
    assert found["disagreements"] <= 2
    assert found["of"]["budget"] == pair.recipe.budget
    printed = capsys.readouterr().out
    assert f"simulation: done ({len(split)} images)" in printed
    assert "exported file in ONNX Runtime" in printed
    assert found["reason"] in printed


def test_a_trial_whose_data_is_not_on_this_machine_is_served_without_the_names_of_its_classes(
    store: Store, tmp_path: Path
) -> None:
    node, _ = pair_of(store)
    record = trial_of(store, node).recipe()
    assert record is not None
    elsewhere = {**record.as_json(), "dataset": dataset_spec("cifar10").model_dump(mode="json")}
    trial_of(store, node).folder.write_json(RECIPE, elsewhere)
    said: list[str] = []
    facts = export_served(store.uri, node.uid, tmp_path, image_size=None, data_dir=tmp_path / "no", say=said.append)
    assert facts["class_names"] is None
    (line,) = said
    assert line.startswith("without the names of the classes: ")
    assert "cifar10" in line or "CIFAR-10" in line


def test_a_network_of_a_file_is_exported_with_integer_kernels_but_for_the_nodes_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights, path = tmp_path / "n.safetensors", tmp_path / "n.onnx"
    save_file(create_backbone("test_resnet", 10).state_dict(), weights)
    line = f"export timm:test_resnet@{weights} -o {path} --integer --image-size 32"
    assert typed(line) == 0
    nodes = onnx.load(path).graph.node
    integer = [node.name.removesuffix("_quant") for node in nodes if node.op_type in ("ConvInteger", "MatMulInteger")]
    assert len(integer) == 16
    assert read_metadata(onnx.load(path))["ranges"] == "per batch"
    assert typed(f"{line} --exclude {integer[3]}") == 0
    left = [node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"]
    assert left == [integer[3]]
    session = onnxruntime.InferenceSession(str(path))
    (logits_BK,) = session.run(["logits"], {"images": np.zeros((3, 3, 32, 32), np.float32)})
    assert logits_BK.shape == (3, 10)


def bad_files(folder: Path) -> dict[str, Path]:
    """Networks of ONNX that cannot be run here, by what is wrong with them."""
    conv = onnx.helper.make_node("Conv", ["images", "w"], ["c"])
    own = onnx.helper.make_node("Magic", ["c"], ["m"], domain="my.library")
    weights = random_weights()
    external = write(folder / "external.onnx", [conv, *head("c")], weights)
    onnx.save(onnx.load(external), external, save_as_external_data=True, location="n.data", size_threshold=0)
    (folder / "n.data").unlink()
    return {
        "operators that come from a library": write(folder / "own.onnx", [conv, own, *head("m")], weights),
        "images have shape": write(folder / "flat.onnx", [conv, *head("c")], weights, shape=(3, 8, 8), output=(5,)),
        "takes INT8 images|breaks ONNX's rules": write(
            folder / "int8.onnx", [conv, *head("c")], weights, element_type=onnx.TensorProto.INT8
        ),
        "weights in other files": external,
    }


@pytest.mark.parametrize("command", ["export onnx:{} -o {}.out", "verify onnx:{} --data digits --json {}.out"])
def test_an_onnx_file_that_cannot_be_run_is_one_line_before_anything_runs(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for message, path in bad_files(tmp_path).items():
        assert typed(command.format(path, path)) == 1
        printed = capsys.readouterr()
        (line,) = printed.err.splitlines()
        assert line.startswith("Error: onnx:" if "|" not in message else "Error: ")
        assert any(each in line for each in message.split("|")), line
        assert printed.out == ""
        assert not Path(f"{path}.out").exists()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("export 0123abcd -o n.onnx", 1, "no trial '0123abcd'"),
        ("export pair/of/nobody -o n.onnx", 1, "no trial 'pair/of/nobody'"),
        ("export test_resnet -o missing/n.onnx", 1, "--output missing/n.onnx cannot be written"),
        ("export test_resnet -o n.onnx --exclude conv", 2, "--exclude names nodes that --integer would quantize"),
        ("export test_resnet", 2, "Missing option '-o'"),
        ("export test_resnet -o n.onnx --to tflite", 2, "'tflite' is not one of 'onnx', 'mlflow'"),
        ("export test_resnet -o n.onnx --name mine", 2, "--name is that of a registered model: give --to mlflow, too."),
        ("verify test_resnet", 2, "Missing option '--data'"),
        ("verify test_resnet --data digits --json missing/f.json", 1, "--json missing/f.json cannot be written"),
        ("verify test_resnet --data nothing", 1, "unknown dataset 'nothing'"),
    ],
)
def test_what_is_typed_wrong_is_one_line(
    line: str,
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed(line) == code
    (printed,) = capsys.readouterr().err.splitlines()
    assert message in printed
    assert list(tmp_path.iterdir()) == []
