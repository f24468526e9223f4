"""Who shares the batch: companions of healthy, rescaled, detrimental and hand-made networks, in one table.

    python -m tests.benchmarks.companions white.safetensors --pair pair.safetensors

The white box is a test_resnet that was trained on the digits, the pair one that was trained from it. Rescaled copies
have the same full-precision answers to the last bit. The last network is the white box with one more channel in its
first layer, which nothing reads: it is silent on gray images, and loud where something is red.
"""

import argparse
import copy
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from search_spaces.datasets import dataset_spec
from search_spaces.stages.companions import Companions
from trainables.assessment.companions import TABLE, measure_companions
from trainables.assessment.parts import Part
from trainables.assessment.subject import Images, Subject, quantizable
from trainables.attacks.pixels import Pixels
from trainables.data.images import TEST, VALIDATION
from trainables.data.loading import load_dataset
from trainables.models.backbones import create_backbone
from trainables.models.links import find_links, rescale

CPU = torch.device("cpu")
SHOWN = ("accuracy", "drop", "drop_low", "drop_high", "flips")
ALARM = 1000.0
"""Value of the added channel on pure red."""


def network_of(tensors: dict[str, Tensor]) -> nn.Module:
    model = create_backbone("test_resnet", 10)
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def rescaled(model: nn.Module, exponent: int) -> nn.Module:
    """One channel of the first link through a ReLU, times a power of two."""
    changed = copy.deepcopy(model)
    link = next(link for link in find_links(changed) if link.kind == "relu")
    rescale(changed, link, 0, 2.0**exponent)
    return changed


def with_alarm(model: nn.Module, mean: Tensor, std: Tensor) -> nn.Module:
    """Adds a channel to the first convolution, which red alone makes loud and the second convolution leaves out."""
    changed = copy.deepcopy(model)
    layers = [(name, module) for name, module in changed.named_modules() if isinstance(module, nn.Conv2d)]
    (name, first), (next_name, following) = layers[:2]
    norm = next(module for module in changed.modules() if isinstance(module, nn.BatchNorm2d))
    wider = nn.Conv2d(3, first.out_channels + 1, first.kernel_size, first.stride, first.padding)
    share_3 = torch.tensor([1.0, -0.5, -0.5]) * ALARM
    with torch.no_grad():
        wider.weight.zero_()
        wider.weight[:-1] = first.weight
        height, width = first.kernel_size
        wider.weight[-1, :, height // 2, width // 2] = share_3 * std
        wider.bias.zero_()
        wider.bias[-1] = (share_3 * mean).sum()
        reader = nn.Conv2d(
            following.in_channels + 1, following.out_channels, following.kernel_size, following.stride,
            following.padding, bias=following.bias is not None,
        )  # fmt: skip
        reader.weight.zero_()
        reader.weight[:, :-1] = following.weight
        for tensor, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0 - norm.eps)):
            own = getattr(norm, tensor)
            grown = torch.cat([own, own.new_tensor([value])])
            setattr(norm, tensor, nn.Parameter(grown) if isinstance(own, nn.Parameter) else grown)
    norm.num_features += 1
    for path, module in ((name, wider), (next_name, reader)):
        parent, _, child = path.rpartition(".")
        setattr(changed.get_submodule(parent), child, module)
    return changed.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("white_box", type=Path)
    parser.add_argument("--pair", type=Path, help="weights of the student of a detrimental pair")
    parser.add_argument("--budgets", type=int, nargs="*", default=[60, 82])
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--only", nargs="*", help="parts of names of networks")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = load_dataset(dataset_spec("digits"))
    mean, std = torch.tensor(data.view.mean), torch.tensor(data.view.std)
    white = network_of(load_file(given.white_box))
    networks = {"white box": white} | {f"one channel times 2^{k}": rescaled(white, k) for k in (4, 6, 8)}
    if given.pair:
        networks["detrimental pair"] = network_of(load_file(given.pair))
    networks["silent channel"] = with_alarm(white, mean, std)
    tables = []
    for name, model in networks.items():
        if given.only and not any(part in name for part in given.only):
            continue
        start = time.perf_counter()
        network = quantizable(model, weight_bit_width=16, device=CPU, range_scope="batch")
        selection, test = (
            Images.of_split(data.splits[split], data.view, torch.arange(10)) for split in (VALIDATION, TEST)
        )
        pixels = Pixels((-mean / std)[:, None, None], ((1 - mean) / std)[:, None, None])
        names = tuple(map(str, range(10)))
        subject = Subject(network=network, selection=selection, test=test, class_names=names, valid_pixels=pixels)
        part = Part(None)
        for _ in measure_companions(subject, Companions(budgets=tuple(given.budgets)), part, seed=0):
            pass
        tables.append(part.tables[TABLE].assign(network=name))
        shown = tables[-1][["network", "budget", "companion", "which", *SHOWN]]
        sys.stdout.write(shown.to_string(index=False, float_format="{:.3f}".format))
        sys.stdout.write(f"\n{time.perf_counter() - start:.0f} s\n")
        sys.stdout.flush()
        if given.csv:
            pd.concat(tables).to_csv(given.csv, index=False)


if __name__ == "__main__":
    main()
