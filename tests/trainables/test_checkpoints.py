"""Checkpoints come back whole or not at all."""

import pytest
import torch

from search_spaces.errors import StorageError
from trainables.checkpoints import ResumePoint, from_bytes, strip_prefix, to_bytes, with_prefix


def test_tensors_survive_bytes() -> None:
    tensors = {"a": torch.randn(3, 4).T, "b": torch.tensor(7), "c": torch.ones(2, dtype=torch.uint8)}
    back = from_bytes(to_bytes(tensors), source="test")
    assert all(back[name].equal(tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("length", [0, 4, 20, 60])
def test_content_cut_short_is_refused_with_its_source(length: int) -> None:
    content = to_bytes({"a": torch.zeros(100)})[:length]
    with pytest.raises(StorageError, match="pair/x is no complete safetensors file"):
        from_bytes(content, source="pair/x")


def test_resume_points_keep_their_epoch() -> None:
    point = ResumePoint(3, {"module.w": torch.ones(2)})
    back = ResumePoint.from_bytes(point.to_bytes(), source="test")
    assert back.epoch == 3
    assert back.tensors["module.w"].equal(torch.ones(2))


def test_prefixes_part_what_they_joined() -> None:
    joined = with_prefix("student.", {"w": torch.ones(1)}) | with_prefix("policy.", {"w": torch.zeros(1)})
    assert strip_prefix("policy.", joined).keys() == {"w"}
    assert strip_prefix("policy.", joined)["w"].item() == 0
