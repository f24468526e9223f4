"""What reaches a policy of the options' gradient, against autograd and by what must not change it."""

import pytest
import torch
from torch import Tensor

from trainables.models.backbones import create_backbone
from trainables.models.policy import profits_of
from trainables.quant.affine import fake_quantize_options
from trainables.quant.knapsack import select, straight_through
from trainables.quant.option_gradient import offered_bit_widths, shape_gradient
from trainables.quant.student import QuantizedStudent

BIT_WIDTHS, BUDGET = (2, 3, 5, 8), 20
RULES = ("plain", "centred", "bit_width")


def gradient_of_logits(rule: str, profits: str, weight_BLO: Tensor) -> Tensor:
    """The gradient of logits that choose among options, where a selection has the given gradient."""
    logits_BLO = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    scores_BLO = profits_of(logits_BLO, profits)
    selection_BLO = straight_through(select(scores_BLO, BIT_WIDTHS, BUDGET), scores_BLO)
    (shape_gradient(selection_BLO, BIT_WIDTHS, rule) * weight_BLO).sum().backward()
    return logits_BLO.grad


@pytest.fixture
def weight_BLO() -> Tensor:
    return torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("rule", ["centred", "bit_width"])
def test_a_centred_gradient_sums_to_nothing_over_the_options_of_a_site(rule: str, weight_BLO: Tensor) -> None:
    offered = torch.cat([torch.ones(6, 5, len(offered_bit_widths(BIT_WIDTHS, rule)) - 4), weight_BLO], dim=-1)
    gradient_BLO = gradient_of_logits(rule, "logits", offered)
    assert gradient_BLO.abs().max() > 0.1
    torch.testing.assert_close(gradient_BLO.sum(-1), torch.zeros(6, 5).double(), rtol=0, atol=1e-12)


def test_centred_takes_the_mean_over_the_options_off_and_nothing_else(weight_BLO: Tensor) -> None:
    plain_BLO, centred_BLO = (gradient_of_logits(rule, "logits", weight_BLO) for rule in ("plain", "centred"))
    torch.testing.assert_close(centred_BLO, plain_BLO - plain_BLO.mean(-1, keepdim=True))


def test_softmax_profits_get_the_same_gradient_centred_or_not(weight_BLO: Tensor) -> None:
    # With a common part as large as that of a real site: 1e4 times what differs.
    weight_BLO = weight_BLO + 1e4
    plain_BLO, centred_BLO = (gradient_of_logits(rule, "softmax", weight_BLO) for rule in ("plain", "centred"))
    torch.testing.assert_close(plain_BLO, centred_BLO, rtol=1e-9, atol=1e-9)


def test_what_all_options_of_a_site_have_in_common_moves_no_centred_logit(weight_BLO: Tensor) -> None:
    common_BL1 = 1e3 * torch.randn(6, 5, 1, generator=torch.Generator().manual_seed(3)).double()
    still, moved = (gradient_of_logits("centred", "logits", each) for each in (weight_BLO, weight_BLO + common_BL1))
    torch.testing.assert_close(moved, still, rtol=1e-9, atol=1e-9)
    plain = [gradient_of_logits("plain", "logits", each) for each in (weight_BLO, weight_BLO + common_BL1)]
    assert (plain[1] - plain[0]).abs().min() > 0.1


@pytest.mark.parametrize("option", range(4))
def test_the_gradient_of_a_bit_width_is_that_of_autograd_through_the_number_of_levels(option: int) -> None:
    generator = torch.Generator().manual_seed(4)
    x, grad = (torch.randn(1, 50, generator=generator).double() for _ in range(2))
    selection_BLO = torch.nn.functional.one_hot(torch.tensor([[option]]), 4).double().requires_grad_()
    offered = offered_bit_widths(BIT_WIDTHS, "bit_width")
    selected_BP = shape_gradient(selection_BLO, BIT_WIDTHS, "bit_width")[:, 0]
    (fake_quantize_options(x, selected_BP, offered) * grad).sum().backward()

    gamma = torch.tensor(float(BIT_WIDTHS[option]), dtype=torch.float64, requires_grad=True)
    lo, hi, levels = x.min().clamp(max=0), x.max().clamp(min=0), 2**gamma - 1
    scale = (hi - lo) / levels
    with torch.no_grad():
        zero = (-lo / scale).round()
        kept = ((x / scale).round() + zero).clamp(torch.zeros(()), levels) - zero - x / scale
    # Rounding and clamping pass gradients on.
    ((x / scale + kept) * scale * grad).sum().backward()
    width_O = torch.tensor(BIT_WIDTHS, dtype=torch.float64)
    torch.testing.assert_close(selection_BLO.grad[0, 0], gamma.grad * (width_O - width_O.mean()))


@pytest.mark.parametrize("rule", ["centred", "bit_width"])
def test_a_rule_changes_neither_the_answers_nor_the_gradient_of_the_student(rule: str) -> None:
    torch.manual_seed(0)
    student = QuantizedStudent(create_backbone("test_resnet", 10).eval())
    images = torch.randn(3, 3, 32, 32)
    scores_BLO = torch.rand(3, student.num_sites, 4)
    index_BL = select(scores_BLO, BIT_WIDTHS, 4 * student.num_sites)

    def run(rule: str) -> list[Tensor]:
        student.zero_grad()
        selection_BLO = straight_through(index_BL, scores_BLO.clone().requires_grad_())
        offered = offered_bit_widths(BIT_WIDTHS, rule)
        logits_BK = student.forward_options(images, shape_gradient(selection_BLO, BIT_WIDTHS, rule), offered)
        logits_BK.square().sum().backward()
        return [logits_BK.detach(), *(parameter.grad.clone() for parameter in student.parameters())]

    for ours, theirs in zip(run(rule), run("plain"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
