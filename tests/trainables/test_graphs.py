"""Passes become CUDA graphs where they can; what a GPU itself does is checked by `tests/gpu`."""

import logging
import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from search_spaces.model import vary
from search_spaces.recipes import PairRecipe
from trainables.models.backbones import create_backbone
from trainables.stages.graphs import GRAPHS_VARIABLE, are_wanted, can_be_captured
from trainables.stages.pair import Pair

RECIPE = PairRecipe(
    architecture="test_resnet", budget=82, epochs=1, batch_size=2, optimizer="sgd", learning_rate=0.01, weight_decay=0.0
)


MODES: list[object] = []
"""What torch was told to do about waiting for the GPU."""


class Waiting(nn.Module):
    """Waits on the way, which torch refuses on a GPU in its mode `error`."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns its input."""
        if MODES[-1:] == ["error"]:
            raise RuntimeError("called a synchronizing CUDA operation\nwith a trace")
        return x


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[nn.Module]]:
    """Stands in for the functions of torch that need a GPU; holds what was captured."""
    modules: list[nn.Module] = []
    MODES.clear()
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", MODES.append)
    monkeypatch.setattr(
        torch.cuda, "make_graphed_callables", lambda module, example, allow_unused_input: modules.append(module)
    )
    yield modules
    assert MODES[-1:] in ([], [0])


def build(*extra: nn.Module) -> Pair:
    white_box = create_backbone("test_resnet", 4).eval().requires_grad_(False)
    white_box.layer1.extend(extra)
    return Pair(white_box, RECIPE)


def test_all_passes_of_a_pair_are_captured_and_nothing_moves(captured: list[nn.Module]) -> None:
    pair = build()
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    assert pair.capture(torch.randn(2, 3, 32, 32))
    assert captured[:2] == [pair.student, pair.policy]
    assert {id(each) for each in captured[2].parameters()} == {id(each) for each in pair.student.parameters()}
    assert all(each.training for each in captured)
    assert all(tensor.equal(before[name]) for name, tensor in pair.state_dict().items())
    assert all(parameter.grad is None for parameter in pair.parameters())


def test_a_network_that_waits_on_the_way_trains_without_graphs_and_says_so(
    captured: list[nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert not build(Waiting()).capture(torch.randn(2, 3, 32, 32))
    assert captured == []
    (record,) = caplog.records
    assert "without CUDA graphs" in record.getMessage()
    assert record.getMessage().endswith("called a synchronizing CUDA operation")


def test_a_gpu_that_is_too_small_is_no_reason_to_go_on(captured: list[nn.Module]) -> None:
    class Large(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("too large")

    with pytest.raises(torch.OutOfMemoryError):
        build(Large()).capture(torch.randn(2, 3, 32, 32))


def test_a_state_dict_holds_the_student_once() -> None:
    assert {name.split(".")[0] for name in build().state_dict()} == {"student", "policy"}


@pytest.mark.parametrize(("word", "on_gpu"), [(None, True), ("", True), ("on", True), ("off", False)])
def test_graphs_are_for_gpus_and_can_be_switched_off(
    word: str | None, on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(GRAPHS_VARIABLE, raising=False)
    if word is not None:
        monkeypatch.setenv(GRAPHS_VARIABLE, word)
    assert are_wanted(torch.device("cuda")) is on_gpu
    assert not are_wanted(torch.device("cpu"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_norm": "both"}, "batch_norm=both"),
        ({"train": ["student"]}, r"train=\['student'\]"),
        ({"spared_sites": 2}, "spared_sites=2"),
        ({}, None),
    ],
)
def test_a_recipe_whose_passes_cannot_be_captured_says_so(
    changes: dict[str, object], words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert can_be_captured(vary(RECIPE, **changes)) is (words is None)
    assert [bool(re.search(words or "", record.getMessage())) for record in caplog.records] == [True] * bool(words)


def test_another_word_for_graphs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GRAPHS_VARIABLE, "maybe")
    with pytest.raises(ConfigError, match="says neither on nor off"):
        are_wanted(torch.device("cuda"))
