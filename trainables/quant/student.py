"""A network whose activations are quantized per example and per site (paper sections 3.2-3.4).

One object serves every pass of the project: full precision, a matrix of bit-widths (evaluation, layer
isolation, cross-policy), and a selection with a gradient for every option (training of pairs). **The
matrix `bit_width_BL` is the one interface between policies and networks.**

The wrapped model keeps its parameters, their names and its own forward pass, which is the full-precision
one. The quantized pass runs a traced copy of the *code* over the same model, with one call of the quantizer
behind each site; the bit-widths travel as an argument of that code, so none can outlive a pass. The model
is traced in training and in evaluation mode, because a trace freezes every `if self.training`.

Measured, forward plus backward with eight options against the plain network, float32, one thread of an
AMD EPYC: 1.12 times for resnet18 (batch 16 at 96 px), 1.3 times for test_resnet (batch 64 at 32 px).

Shape letters: B = examples, L = sites, O = bit-width options, K = classes, C H W = image.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from search_spaces.budgets import check_scope
from search_spaces.errors import ConfigError
from search_spaces.names import RangeScope, SitePlacement
from trainables.quant.affine import check_bit_width_range, fake_quantize, fake_quantize_options
from trainables.quant.range_scope import scoped
from trainables.quant.traced_code import compile_quantized
from trainables.quant.weights import fake_quantize_weights, find_weight_layers

Quantize = Callable[[Tensor, int], Tensor]
"""Function that quantizes an activation, given the index of its site."""


class QuantizedStudent(nn.Module):
    """Wraps an image classifier so that it can also run quantized.

    `student(images)` is the model as it is. `student(images, bit_width_BL)` quantizes weights and
    activations. `student.forward_options(...)` does so with gradients for every option, and
    `student.observe(...)` shows the activations of either pass. The state dict of `student.model` is that
    of the wrapped model. During a quantized pass the weights of the model are swapped, so two threads must
    not share a student.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        weight_bit_width: int | None = 16,
        range_gradient: bool = True,
        scale_quantile: float = 1.0,
        range_scope: RangeScope = "example",
        sites: SitePlacement = "outputs",
        pinned: Mapping[int, int] | None = None,
    ) -> None:
        """Traces the model and finds its sites.

        Args:
            model: A timm, torchvision or plain torch image classifier; kept, not copied.
            weight_bit_width: Bits of every Conv2d and Linear weight in quantized passes, in 2..16; None
                leaves the weights as they are. Paper: 16.
            range_gradient: Whether the extremes of an activation receive the gradient of its scale.
            scale_quantile: Below 1, activation ranges end at these quantiles (see `fake_quantize`).
            range_scope: Whether an activation has one range per `example`, one for the whole `batch`, or one per
                `channel` of every example; an activation without positions, such as a pooled vector, then has one
                per example.
            sites: Whether the `outputs` of layers are quantized, as in the paper, or their `inputs`, as in runtimes.
            pinned: Bit-widths of sites, by index, that hold whatever a pass asks for; 0 is full precision.

        Raises:
            ConfigError: The model cannot be traced or has no site, the weight bit-width is out of range, ranges over a
                batch are to end at quantiles, or a pinned site does not exist.
        """
        super().__init__()
        self.model = model
        self.weight_bit_width = weight_bit_width
        self.range_gradient = range_gradient
        self.scale_quantile = scale_quantile
        self.range_scope: RangeScope = range_scope
        self.placement: SitePlacement = sites
        self.batch_size: int | None = None
        check_scope(range_scope, scale_quantile)
        self._layers = find_weight_layers(model, weight_bit_width)
        self.sites, evaluation_code = compile_quantized(model, sites, training=False)
        training_sites, training_code = compile_quantized(model, sites, training=True)
        if [site.name for site in training_sites] != [site.name for site in self.sites]:
            raise ConfigError(
                f"model {type(model).__name__} runs {len(training_sites)} sites in training and "
                f"{len(self.sites)} others in evaluation, so one bit-width matrix cannot serve both: "
                "choose a model without auxiliary branches."
            )
        self._code = {False: evaluation_code, True: training_code}
        self.pinned = self._checked_pins(pinned or {})

    @property
    def num_sites(self) -> int:
        """Number of sites, L."""
        return len(self.sites)

    def with_pinned(self, pinned: Mapping[int, int]) -> Self:
        """Returns the network with more pinned sites, which must exist; both share the model."""
        other = copy.copy(self)
        other.pinned = self._checked_pins({**self.pinned, **pinned})
        return other

    def in_batches_of(self, size: int) -> Self:
        """Returns the network with ranges over so many images, side by side; both share the model.

        A pass of N times as many images is then N batches in one.
        """
        other = copy.copy(self)
        other.range_scope, other.batch_size = "batch", size
        return other

    def forward(self, images: Tensor, bit_width_BL: Tensor | None = None) -> Tensor:
        """Returns the logits, at full precision or at the given bit-widths.

        Args:
            images: Images, [B, C, H, W].
            bit_width_BL: Bits of every site of every example, integer in 0..16, where 0 leaves that site of
                that example at full precision. None runs the model as it is, weights included.

        Returns:
            Logits, [B, K].

        Raises:
            ConfigError: The matrix does not fit the images or the sites, or a bit-width is out of range.
        """
        if bit_width_BL is None:
            logits: Tensor = self.model(images)
            return logits
        return self.observe(images, bit_width_BL, lambda index, x: None)

    def observe(self, images: Tensor, bit_width_BL: Tensor | None, show: Callable[[int, Tensor], None]) -> Tensor:
        """Runs as `student(images, bit_width_BL)` does and shows the activation of every site on the way.

        Args:
            images: Images, [B, C, H, W].
            bit_width_BL: As in `forward`.
            show: Called with the index of a site and its activation as the network goes on with it, so quantized
                where its bit-width says so; examples along dimension 0. In-place operations of the network may change
                the tensor later: read it at once, or clone it.

        Returns:
            Logits, [B, K].

        Raises:
            ConfigError: As in `forward`.
        """
        quantize = None if bit_width_BL is None else self._quantize_at(images, bit_width_BL)

        def quantize_and_show(x: Tensor, index: int) -> Tensor:
            if quantize:
                x = quantize(x, index)
            show(index, x)
            return x

        with self._quantized_weights() if quantize else nullcontext():
            return self._run(images, quantize_and_show)

    def run_marked(self, images: Tensor, mark: Quantize) -> Tensor:
        """Runs at full precision through a function that stands at every site, for a trace of the whole network.

        Args:
            images: Images, [B, C, H, W].
            mark: Gets the activation of a site and its index, and returns what the network goes on with.

        Returns:
            Logits, [B, K].
        """
        logits: Tensor = self._code[self.model.training](self.model, mark, images)
        return logits

    def forward_options(self, images: Tensor, selection_BLO: Tensor, bit_widths: Sequence[int]) -> Tensor:
        """Returns the logits at the selected options; the backward pass reaches every option.

        Args:
            images: Images, [B, C, H, W].
            selection_BLO: One-hot choice per example and site, floating, from `knapsack.straight_through`.
            bit_widths: Bit-width of every option, ascending, each in 1..16; 0 in front of them is full precision.

        Returns:
            Logits, [B, K].

        Raises:
            ConfigError: The selection does not fit the images, the sites or the options.
        """
        expected = (images.shape[0], self.num_sites, len(bit_widths))
        if selection_BLO.shape != expected or not selection_BLO.is_floating_point():
            raise self._shape_error("selection", selection_BLO, expected, "a floating one-hot row")
        # Unbound once: slicing per site would make the backward pass add L matrices of full size.
        columns = selection_BLO.unbind(1)

        # Only where sites are pinned: to ask a GPU which ones are quantized would make it wait in every step.
        pinned = self._quantize_at(images, torch.zeros(expected[:2], dtype=torch.int64)) if self.pinned else None
        to_options = partial(fake_quantize_options, bit_widths=bit_widths, **self._settings())

        def quantize(x: Tensor, index: int) -> Tensor:
            if pinned and index in self.pinned:
                return pinned(x, index)
            return self._per_range(to_options, x, columns[index], index)

        with self._quantized_weights():
            return self._run(images, quantize)

    def quantize_site(self, x: Tensor, bit_width_B: Tensor, index: int) -> Tensor:
        """Quantizes an activation as the network does at a site, whatever is pinned there."""
        return self._per_range(partial(fake_quantize, **self._settings()), x, bit_width_B, index)

    def _quantize_at(self, images: Tensor, bit_width_BL: Tensor) -> Quantize:
        """Checks the matrix and returns what quantizes every site by its column."""
        expected = (images.shape[0], self.num_sites)
        if bit_width_BL.shape != expected or bit_width_BL.is_floating_point():
            raise self._shape_error("bit-widths", bit_width_BL, expected, "an integer")
        if self.pinned:
            bit_width_BL = bit_width_BL.clone()
            bit_width_BL[:, list(self.pinned)] = bit_width_BL.new_tensor(list(self.pinned.values()))
        check_bit_width_range(bit_width_BL)
        bit_width_BL = bit_width_BL.to(images.device)
        columns = bit_width_BL.unbind(1)
        to_bit_widths = partial(fake_quantize, **self._settings())
        # Layer isolation leaves most sites alone: those cost nothing, not even a copy.
        is_quantized = bit_width_BL.any(0).tolist()

        def quantize(x: Tensor, index: int) -> Tensor:
            if not is_quantized[index]:
                return x
            return self._per_range(to_bit_widths, x, columns[index], index)

        return quantize

    def _checked_pins(self, pinned: Mapping[int, int]) -> dict[int, int]:
        if not pinned.keys() <= set(range(self.num_sites)):
            raise ConfigError(f"sites {sorted(pinned)} cannot be pinned: there are 0 to {self.num_sites - 1}.")
        return dict(pinned)

    def _settings(self) -> dict[str, Any]:
        return {"range_gradient": self.range_gradient, "scale_quantile": self.scale_quantile}

    def _per_range(self, quantize: Callable[..., Tensor], x: Tensor, setting_B: Tensor, index: int) -> Tensor:
        axis = self.sites[index].channel_axis
        return scoped(quantize, self.range_scope, axis=axis, batch_size=self.batch_size)(x, setting_B)

    def _run(self, images: Tensor, quantize: Quantize) -> Tensor:
        num_examples = images.shape[0]
        if self.batch_size and num_examples % self.batch_size:
            raise ConfigError(f"{num_examples} images are no batches of {self.batch_size}: give a multiple.")

        def quantize_examples(x: Tensor, index: int) -> Tensor:
            if x.shape[0] == num_examples:
                return quantize(x, index)
            # Window attention (swin, maxvit) folds the windows of an example into the batch, side by side.
            if x.shape[0] % num_examples:
                raise ConfigError(
                    f"site {self.sites[index].name} has {x.shape[0]} rows for {num_examples} images, so its "
                    "values have no example: choose a model that keeps examples along the first dimension."
                )
            return quantize(x.unflatten(0, (num_examples, -1)), index).flatten(0, 1)

        return self.run_marked(images, quantize_examples)

    @contextmanager
    def _quantized_weights(self) -> Iterator[None]:
        """Puts quantized weights in the place of the parameters, and the parameters back in any case."""
        if self.weight_bit_width is None:
            yield
            return
        # Typed as what they hold during the pass: tensors that are no parameters.
        slots = [cast(dict[str, Tensor], layer._parameters) for layer in self._layers]
        weights = [slot["weight"] for slot in slots]
        quantized = fake_quantize_weights(weights, self.weight_bit_width)
        try:
            # Straight into the dictionaries: assigning to the module would refuse what is not a parameter.
            for slot, weight in zip(slots, quantized, strict=True):
                slot["weight"] = weight
            yield
        finally:
            for slot, weight in zip(slots, weights, strict=True):
                slot["weight"] = weight

    def _shape_error(self, what: str, given: Tensor, expected: tuple[int, ...], unit: str) -> ConfigError:
        return ConfigError(
            f"{what} of shape {list(given.shape)} and dtype {given.dtype} do not fit {expected[0]} images "
            f"and the {self.num_sites} sites of {type(self.model).__name__}: give {unit} per image and site, "
            f"shape {list(expected)}."
        )
