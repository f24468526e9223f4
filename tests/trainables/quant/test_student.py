"""The quantized student against the plain model and against a hand-written quantized network.

Shape letters: B = examples, L = sites, O = options, C H W = image.
"""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from search_spaces.errors import ConfigError
from trainables.quant.affine import fake_quantize, fake_quantize_options
from trainables.quant.knapsack import bit_widths_of, select, straight_through
from trainables.quant.student import QuantizedStudent
from trainables.quant.weights import fake_quantize_weights

BIT_WIDTHS = tuple(range(3, 11))


def create(architecture: str = "test_resnet", **settings) -> nn.Module:
    torch.manual_seed(0)
    if architecture == "test_resnet":
        # timm starts every residual branch at zero, which would hide half of the sites from the output.
        settings["zero_init_last"] = False
    return timm.create_model(architecture, num_classes=7, **settings).eval()


def create_images(num_examples: int = 4, size: int = 32) -> torch.Tensor:
    return torch.randn(num_examples, 3, size, size, generator=torch.Generator().manual_seed(1))


def create_selection(student: QuantizedStudent, num_examples: int, seed: int = 2):
    generator = torch.Generator().manual_seed(seed)
    profits = torch.randn(num_examples, student.num_sites, 8, generator=generator).requires_grad_()
    option_index_BL = select(profits, BIT_WIDTHS, round(5.5 * student.num_sites))
    return profits, straight_through(option_index_BL, profits), bit_widths_of(option_index_BL, BIT_WIDTHS)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.branch = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x)), inplace=True)
        y = self.branch(x)
        y += x
        return self.fc(y.mean((2, 3)))


@pytest.mark.parametrize("num_bits", [2, 8, 16])
def test_weights_are_on_a_symmetric_grid_of_their_largest_magnitude(monkeypatch, num_bits):
    weights = [torch.randn(5, 3, 3, 3), torch.zeros(4), -torch.rand(7, 2), torch.randn(40, 30).t()]
    quant_max = 2 ** (num_bits - 1) - 1
    for forced in ("numba", "torch"):
        monkeypatch.setenv("DPTQ_QUANTIZER", forced)
        for weight, quantized in zip(weights, fake_quantize_weights(weights, num_bits), strict=True):
            scale = weight.abs().max() / quant_max
            expected = (weight / scale).round().clamp(-quant_max, quant_max) * scale if scale else weight
            assert torch.equal(quantized, expected)
        for bad in (float("nan"), float("inf"), -float("inf")):
            assert fake_quantize_weights([torch.tensor([1.0, bad, 2.0])], num_bits)[0].isnan().all()


def test_weight_gradients_pass_straight_through():
    weights = [torch.randn(3, 3, requires_grad=True), torch.randn(2, requires_grad=True)]
    first, _ = fake_quantize_weights(weights, 16)
    grad = torch.randn(3, 3)
    first.backward(grad)
    assert torch.equal(weights[0].grad, grad)
    assert weights[1].grad is None


def test_quantized_pass_equals_a_network_quantized_by_hand():
    model, images = Tiny().eval(), create_images(size=8)
    student = QuantizedStudent(model)
    assert [site.name for site in student.sites] == ["conv", "branch"]
    profits, selection, bit_width_BL = create_selection(student, 4)
    logits = student.forward_options(images, selection, BIT_WIDTHS)
    logits.square().sum().backward()
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    option_grads = profits.grad.clone()
    model.zero_grad()
    profits, selection, _ = create_selection(student, 4)
    conv, branch, fc = fake_quantize_weights([model.conv.weight, model.branch.weight, model.fc.weight], 16)
    x = F.relu(model.bn(F.conv2d(images, conv, model.conv.bias)))
    x = fake_quantize_options(x, selection[:, 0], BIT_WIDTHS)
    y = fake_quantize_options(F.conv2d(x, branch, model.branch.bias), selection[:, 1], BIT_WIDTHS)
    expected = F.linear((y + x).mean((2, 3)), fc, model.fc.bias)
    expected.square().sum().backward()
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)
    for ours, parameter in zip(grads, model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad)
    torch.testing.assert_close(option_grads, profits.grad)
    torch.testing.assert_close(student(images, bit_width_BL), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("test_resnet", {"drop_path_rate": 0.3, "drop_rate": 0.2}),
        ("test_vit", {"attn_drop_rate": 0.3, "proj_drop_rate": 0.2, "drop_path_rate": 0.2, "img_size": 64}),
        ("test_convnext", {"drop_path_rate": 0.3}),
        ("test_efficientnet", {"drop_path_rate": 0.3, "drop_rate": 0.2}),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_traced_code_computes_what_the_model_computes_in_both_modes(architecture, settings, training):
    plain = create(architecture, **settings).train(training)
    student = QuantizedStudent(copy.deepcopy(plain), weight_bit_width=None)
    assert student.model.training == training
    images = create_images(size=64)
    torch.manual_seed(4)
    expected = plain(images)
    torch.manual_seed(4)
    actual = student(images, torch.zeros(4, student.num_sites, dtype=torch.int64))
    assert torch.equal(actual, expected)
    # Running statistics of BatchNorm included.
    for ours, theirs in zip(student.model.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_frozen_batch_norm_stays_frozen_in_the_quantized_training_pass():
    student = QuantizedStudent(create()).train()
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    before = copy.deepcopy(dict(student.named_buffers()))
    student(create_images(), torch.full((4, student.num_sites), 4))
    assert all(torch.equal(buffer, before[name]) for name, buffer in student.named_buffers())


def test_full_precision_pass_is_the_model_itself():
    model, images = create(), create_images()
    assert torch.equal(QuantizedStudent(model)(images), model(images))


def test_state_dict_round_trips_with_timm():
    student = QuantizedStudent(create())
    fresh = timm.create_model("test_resnet", num_classes=7)
    assert list(student.model.state_dict()) == list(fresh.state_dict())
    fresh.load_state_dict(student.model.state_dict())
    images = create_images()
    assert torch.equal(fresh.eval()(images), student(images))
    assert all(name.startswith("model.") for name in student.state_dict())


def test_each_site_and_example_obeys_its_own_bit_width():
    student, images = QuantizedStudent(create(), weight_bit_width=None), create_images()
    zero = torch.zeros(4, student.num_sites, dtype=torch.int64)
    exact = student(images)
    for site in range(student.num_sites):
        bit_width_BL = zero.clone()
        bit_width_BL[1, site] = 2
        is_moved = (student(images, bit_width_BL) != exact).any(1)
        assert is_moved.tolist() == [False, True, False, False], student.sites[site].name


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit3", "swin_s3_tiny_224"])
def test_an_example_is_quantized_alike_alone_and_in_a_batch(architecture):
    # Swin folds the windows of an example into the batch dimension.
    sizes = {"swin_s3_tiny_224": {"img_size": 56, "window_size": 7, "embed_dim": 24}, "test_vit3": {"img_size": 56}}
    settings: dict = sizes.get(architecture, {})
    student, images = QuantizedStudent(create(architecture, **settings)), create_images(3, 56)
    bit_width_BL = torch.randint(3, 6, (3, student.num_sites), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        together = student(images, bit_width_BL)
        alone = torch.cat([student(images[b : b + 1], bit_width_BL[b : b + 1]) for b in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


def test_weights_are_quantized_in_quantized_passes_only_and_restored_after_an_error():
    model, images = Tiny().eval(), create_images(size=8)
    student = QuantizedStudent(model, weight_bit_width=2)
    parameters = dict(model.named_parameters())
    zero = torch.zeros(4, 2, dtype=torch.int64)
    assert not torch.equal(student(images, zero), student(images))
    with pytest.raises(RuntimeError):
        student(torch.zeros(4, 5, 8, 8), zero)
    assert all(parameter is parameters[name] for name, parameter in model.named_parameters())
    assert torch.equal(student(images), Tiny().eval()(images))


def observed(student: QuantizedStudent, images: torch.Tensor, bit_width_BL: torch.Tensor | None):
    shown = []
    logits = student.observe(images, bit_width_BL, lambda site, x: shown.append((site, x.clone())))
    assert [site for site, _ in shown] == list(range(student.num_sites))
    return logits, [x for _, x in shown]


def test_observed_activations_are_those_of_the_network_by_hand():
    model, images = Tiny().eval(), create_images(size=8)
    student, bit_width_BL = QuantizedStudent(model, weight_bit_width=3), torch.tensor([[4, 3]] * 4)
    # An in-place addition changes the second one afterwards.
    x = F.relu(model.bn(model.conv(images)))
    logits, (first, second) = observed(student, images, None)
    assert torch.equal(logits, model(images))
    assert torch.equal(first, x)
    assert torch.equal(second, model.branch(x))
    conv, branch = fake_quantize_weights([model.conv.weight, model.branch.weight], 3)
    x = fake_quantize(F.relu(model.bn(F.conv2d(images, conv, model.conv.bias))), bit_width_BL[:, 0])
    logits, (first, second) = observed(student, images, bit_width_BL)
    assert torch.equal(logits, student(images, bit_width_BL))
    assert torch.equal(first, x)
    assert torch.equal(second, fake_quantize(F.conv2d(x, branch, model.branch.bias), bit_width_BL[:, 1]))


def test_observed_activations_keep_examples_along_their_first_dimension():
    student = QuantizedStudent(create("swin_s3_tiny_224", img_size=56, window_size=7, embed_dim=24))
    bit_width_BL = torch.full((3, student.num_sites), 4)
    with torch.no_grad():
        for bits in (None, bit_width_BL):
            assert {len(x) for x in observed(student, create_images(3, 56), bits)[1]} == {3}


def test_an_optimizer_over_the_student_trains_the_model():
    student, images = QuantizedStudent(create()), create_images(8)
    profits, selection, _ = create_selection(student, 8)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        logits = student.forward_options(images, selection.detach(), BIT_WIDTHS)
        loss = F.cross_entropy(logits, torch.arange(8) % 7)
        loss.backward()
        assert all(parameter.grad is not None for parameter in student.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert profits.grad is None


def test_every_option_of_every_site_gets_a_gradient():
    student = QuantizedStudent(create())
    profits, selection, _ = create_selection(student, 4)
    student.forward_options(create_images(), selection, BIT_WIDTHS).square().sum().backward()
    assert profits.grad.isfinite().all()
    assert (profits.grad != 0).float().mean() > 0.99


def test_range_gradient_and_scale_quantile_reach_the_quantizer():
    model, images = Tiny().eval(), create_images(size=8)
    bit_width_BL = torch.tensor([[3, 0]] * 4)
    x = F.relu(model.bn(model.conv(images)))
    clipped = fake_quantize(x, bit_width_BL[:, 0], scale_quantile=0.9)
    expected = model.fc((model.branch(clipped) + clipped).mean((2, 3)))
    student = QuantizedStudent(model, weight_bit_width=None, scale_quantile=0.9)
    assert torch.equal(student(images, bit_width_BL), expected)
    grads = []
    for range_gradient in (True, False):
        leaf = images.clone().requires_grad_()
        student = QuantizedStudent(model, range_gradient=range_gradient)
        student(leaf, bit_width_BL).square().sum().backward()
        grads.append(leaf.grad)
    assert not torch.equal(*grads)


def test_a_deep_copy_is_independent():
    student, images = QuantizedStudent(create()), create_images()
    bit_width_BL = torch.full((4, student.num_sites), 5)
    clone = copy.deepcopy(student)
    expected = student(images, bit_width_BL)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert torch.equal(clone(images, bit_width_BL), expected)
    assert not torch.equal(student(images, bit_width_BL), expected)


@pytest.mark.parametrize(
    ("bit_width_BL", "rule"),
    [
        (torch.zeros(4, 14, dtype=torch.int64), r"15 sites.*\[4, 15\]"),
        (torch.zeros(3, 15, dtype=torch.int64), r"4 images.*\[4, 15\]"),
        (torch.zeros(15, dtype=torch.int64), r"shape \[4, 15\]"),
        (torch.zeros(4, 15), "an integer per image and site"),
        (torch.full((4, 15), 17), "from 1 to 16"),
        (torch.full((4, 15), -1), "from 1 to 16"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused_with_the_rule(bit_width_BL, rule):
    with pytest.raises(ConfigError, match=rule):
        QuantizedStudent(create())(create_images(), bit_width_BL)


def test_a_selection_or_weight_bit_width_that_does_not_fit_is_refused():
    student = QuantizedStudent(create())
    with pytest.raises(ConfigError, match=r"\[4, 15, 8\]"):
        student.forward_options(create_images(), torch.zeros(4, 15, 7), BIT_WIDTHS)
    with pytest.raises(ConfigError, match="2 to 16 bits"):
        QuantizedStudent(create(), weight_bit_width=1)
