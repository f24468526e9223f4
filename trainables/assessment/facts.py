"""What a plan needs to know of a network that is given, found out before anything runs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from search_spaces.dataset_kinds import DATASETS
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError
from search_spaces.model import parse, vary
from search_spaces.models import ModelSpec, model_spec
from search_spaces.pixels import height_width, image_size_of, parse_image_size
from search_spaces.stages.assessment import ImageSettings, NetworkFacts
from trainables.data.loading import class_names_of
from trainables.models.given import GivenNetwork
from trainables.models.labels import match_labels
from trainables.models.registry import open_network
from trainables.models.trial_models import ReadTrial
from trainables.quant.sites import LAYER_KINDS, find_sites
from trainables.runtimes.onnx_file import IMAGE_CHANNELS, read_onnx
from trainables.runtimes.onnx_quantized_file import QuantizedFile
from trainables.runtimes.onnxruntime import OnnxNetwork

# C = classes of the data.

UNLABELLED = "What counts as right is the answer of the network at full precision."


def look_at(
    uri: str,
    dataset: DatasetSpec,
    settings: ImageSettings,
    *,
    data_dir: Path,
    class_names: Sequence[str] | None = None,
    has_labels: bool = True,
    has_same_classes: bool = False,
    is_typed: bool = True,
    read_trial: ReadTrial | None = None,
) -> NetworkFacts:
    """Opens a network, and finds its sites and its classes.

    Args:
        uri: As the user typed it.
        dataset: What it is measured on.
        settings: How the user wants images prepared.
        data_dir: Folder of datasets.
        class_names: Names of the network's classes, if the user gave them.
        has_labels: Whether the labels of the data count, if it has some.
        has_same_classes: Whether the network must have the classes of the data in their order, as training needs.
        is_typed: Whether the user typed the URI in this command; `python:` runs for those only.
        read_trial: Reads the network that a trial trained.

    Raises:
        ConfigError: The network cannot be read, does not fit the data, or cannot be quantized.
        UnavailableError: A file or a library is not on this machine.
    """
    spec, asked = model_spec(uri), settings.image_size
    size = None if asked is None else height_width(parse_image_size(asked))
    given = open_network(spec, image_size=size, is_typed=is_typed, read_trial=read_trial)
    seen = dataset_seen_by(given, dataset, settings)
    if seen.seen_size != size:
        # Its own size, or that of the data: it must run on that one, too.
        given = open_network(spec, image_size=seen.seen_size, is_typed=is_typed, read_trial=read_trial)
    names = class_names_of(seen, data_dir) if has_labels else ()
    if has_same_classes:
        check_same_classes(given, names, class_names)
    how = match_labels(names, class_names or given.class_names, given.num_classes).how if names else UNLABELLED
    return NetworkFacts(
        model=vary(spec, sha256=given.sha256),
        architecture=given.architecture,
        num_sites=_num_sites(given.module),
        num_inputs=None if isinstance(given.module, OnnxNetwork) else len(find_sites(given.module, "inputs")),
        macs=count_macs(given.module, seen.seen_size),
        dataset=seen,
        class_names=tuple(names),
        labels="dataset" if names else "none",
        how_labelled=how,
    )


def look_at_quantized_file(uri: str, reference: NetworkFacts) -> ModelSpec:
    """Opens a quantized ONNX file and runs it once; returns it with its checksum.

    Args:
        uri: As the user typed it.
        reference: The float file that it was made from, and the data as this one sees it.

    Raises:
        ConfigError: It is no quantized classifier of images, or does not fit the reference.
        UnavailableError: It is not on this machine.
    """
    spec = model_spec(uri)
    file = QuantizedFile(Path(spec.name), read_onnx(Path(reference.model.name)))
    file.runner()(torch.zeros(1, IMAGE_CHANNELS, *reference.dataset.seen_size))
    return vary(spec, sha256=file.sha256)


def _num_sites(module: nn.Module) -> int:
    return module.num_sites if isinstance(module, OnnxNetwork) else len(find_sites(module))


@torch.inference_mode()
def count_macs(module: nn.Module, size: tuple[int, int]) -> int:
    """Returns the multiplications of the Conv2d and Linear layers for one image of some height and width."""
    if isinstance(module, OnnxNetwork):
        return module.count_macs(size)
    macs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        weight = layer.weight
        assert isinstance(weight, Tensor)
        macs += output.numel() * weight[0].numel()

    layers = [module for module in module.modules() if isinstance(module, LAYER_KINDS)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        module(torch.zeros(1, 3, *size))
    finally:
        for hook in hooks:
            hook.remove()
    return macs


def dataset_seen_by(given: GivenNetwork, dataset: DatasetSpec, settings: ImageSettings) -> DatasetSpec:
    """Returns a dataset as a network sees it: as the user says, or else the network, or else the dataset.

    A dataset of one known size (digits, CIFAR-10, Pets) keeps its size, filter and crop unless the user says otherwise:
    what networks of an architecture usually see would blur 32 pixels to 224.

    Raises:
        ConfigError: A value breaks its field's rule.
    """
    own: dict[str, object] = {}
    if given.view:
        own = {"mean": given.view.mean, "std": given.view.std}
    if DATASETS[dataset.kind].place:
        own |= {"image_size": image_size_of(given.view.size)} if given.view else {}
        own |= {"interpolation": given.interpolation, "crop": given.crop}
    said = settings.model_dump()
    if said["crop_mode"] == "pad":
        own.pop("crop", None)
    chosen = own | {name: value for name, value in said.items() if value is not None}
    known = {name: value for name, value in chosen.items() if value is not None}
    return parse(DatasetSpec, dataset.model_dump() | known, place="dataset")


def check_same_classes(
    given: GivenNetwork, data_names: Sequence[str], class_names: Sequence[str] | None = None
) -> None:
    """Makes sure that the classes of a network are those of the data, in the same order.

    `class_names` are those of the network, where the user gave them.

    Raises:
        ConfigError: They are not.
    """
    hint = "training keeps the classes of a network, so give data that has them in its order."
    if given.num_classes != len(data_names):
        raise ConfigError(f"model {given.uri} has {given.num_classes} classes and the data {len(data_names)}: {hint}")
    try:
        index_C = match_labels(data_names, class_names or given.class_names, given.num_classes).index_C
    except ConfigError:
        index_C = ()
    if index_C != tuple(range(given.num_classes)):
        own = class_names or given.class_names or ()
        theirs, ours = (", ".join(map(repr, names[:3])) for names in (own, data_names))
        raise ConfigError(
            f"the classes of model {given.uri} begin with {theirs}, and those of the data with {ours}: they are others "
            f"or in another order; {hint}"
        )


def class_index(given: GivenNetwork, data_names: Sequence[str], class_names: Sequence[str] | None) -> Tensor:
    """Returns for every class of the data the class of the network that is it, int64 [C]."""
    return torch.tensor(match_labels(data_names, class_names or given.class_names, given.num_classes).index_C)


def names_of(
    given: GivenNetwork, data_names: Sequence[str], index_C: Tensor, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    """Returns a name of every class of a network: that of the data, or else its own, or else its number."""
    names = list(class_names or given.class_names or map(str, range(given.num_classes)))
    for name, index in zip(data_names, index_C.tolist(), strict=True):
        names[index] = name
    return tuple(names)
