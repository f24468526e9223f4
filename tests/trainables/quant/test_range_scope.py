"""Ranges per channel, and sites whose bit-width is pinned."""

import pytest
import torch

from search_spaces.errors import ConfigError
from tests.trainables.models.networks import create, noise
from trainables.quant.affine import fake_quantize
from trainables.quant.range_scope import per_channel
from trainables.quant.student import QuantizedStudent


@pytest.mark.parametrize(("shape", "axis"), [((3, 4, 5, 6), -3), ((3, 7, 4), -1), ((3, 2, 7, 4), -1)])
def test_every_channel_is_quantized_as_if_it_were_alone(shape: tuple[int, ...], axis: int) -> None:
    x, bits = torch.randn(shape), torch.tensor([2, 0, 5])
    quantized = per_channel(fake_quantize, x, bits, axis=axis)
    for channel in range(4):
        alone = fake_quantize(x.select(axis, channel).contiguous(), bits)
        assert torch.equal(quantized.select(axis, channel), alone)


def test_a_vector_keeps_one_range_per_example() -> None:
    x, bits = torch.randn(3, 8), torch.tensor([2, 3, 4])
    assert torch.equal(per_channel(fake_quantize, x, bits, axis=-1), fake_quantize(x, bits))


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_selected_options_give_what_their_bit_widths_give_and_a_gradient(architecture: str) -> None:
    student = QuantizedStudent(create(architecture), range_scope="channel", pinned={1: 0, 2: 6}).eval()
    images, options = noise(3), (3, 5)
    chosen_BL = torch.randint(2, (3, student.num_sites), generator=torch.Generator().manual_seed(2))
    selection = torch.nn.functional.one_hot(chosen_BL, 2).float().requires_grad_()
    logits = student.forward_options(images, selection, options)
    assert torch.equal(logits, student(images, torch.tensor(options)[chosen_BL]))
    logits.square().sum().backward()
    assert selection.grad is not None
    is_pinned_L = torch.isin(torch.arange(student.num_sites), torch.tensor([1, 2]))
    assert (selection.grad[:, is_pinned_L] == 0).all()
    assert (selection.grad[:, ~is_pinned_L] != 0).any(dim=(0, 2)).all()


def test_a_pinned_site_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="there are 0 to 14"):
        QuantizedStudent(create("test_resnet"), pinned={15: 0})
