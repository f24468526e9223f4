"""What the values of shared options stand for: a sweep, the limits of a launch, a plan and its name."""

import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import click

from cluster.files.node_types import read_cluster
from cluster.files.prices import CPU, price_per_paid_hour, read_prices
from orchestrator.cli.grid_options import SEARCH_FIELDS
from orchestrator.launch.caps import Limits
from orchestrator.launch.notifications import check_target
from orchestrator.plan import Plan, build_plan
from orchestrator.search.ladder import check_starts
from orchestrator.store.store import Store
from orchestrator.store.sweep import Caps, LaunchOptions, Sweep, latest_sweep_name
from orchestrator.workers.entry_points import (
    check_dataset,
    check_rescalable,
    check_teacher,
    count_trained,
    look_at_network,
    look_at_quantized_file,
    num_sites,
)
from search_spaces.datasets import DatasetSpec, dataset_slug, dataset_spec
from search_spaces.errors import ConfigError, InfeasibleBudgetError, UnavailableError
from search_spaces.grids.assess import assess_grid
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.grids.trained import TrainingData, check_trainable
from search_spaces.model import parse
from search_spaces.models import ModelSpec, model_slug, model_spec
from search_spaces.names import RANGE_SCOPES, SITE_PLACEMENTS
from search_spaces.stages.assessment import ImageSettings, NetworkFacts
from search_spaces.stages.quantized_file import QuantizedFile
from search_spaces.stages.registry import Stage
from search_spaces.stages.rules import largest_drop_of, parse_rule
from search_spaces.uris import check_host

NO_LABELS = "none"
"""Value of --labels for data whose labels do not count."""
NOTHING_KEPT = LaunchOptions()
# Of `LaunchOptions`, what options set under the same name: never --on-event, whose target may hold a secret.
_KEPT = (
    *("address", "tracking_uri", "analyze", "gpus_per_trial", "max_retries", "shared_storage"),
    *("threads", "json_file", "junit_file"),
)

_OF_ASSESSMENTS = (
    *("budgets", "option_set", "draws", "max_passes", "seed"),
    *("equalize", "sites", "range_scope", "companions"),
)


def open_sweep(storage: str, name: str | None) -> tuple[Sweep, Plan]:
    """Opens a sweep that was launched before, the latest one unless named, with its plan.

    Raises:
        ConfigError: There is no such sweep.
    """
    store = Store(storage, create=False)
    sweep = Sweep(store, name or latest_sweep_name(store))
    return sweep, sweep.load_plan(num_sites)


def check_places(tracking_uri: str | None, address: str | None) -> None:
    """Makes sure that this machine's user named the hosts that a launch noted in the storage; see `check_host`.

    Raises:
        ConfigError: Nobody did.
    """
    if tracking_uri:
        check_host(tracking_uri, what="MLflow of the sweep", option="--tracking-uri")
    if address:
        check_host(address, what="the Ray cluster of the launch", option="--address")


def _caps_of(values: dict[str, Any], kept: Caps) -> Caps:
    limits = {
        name: getattr(kept, name) if (given := values.pop(name)) is None else given
        for name in ("max_hours", "max_gpu_hours", "max_cost")
    }
    price, cluster_file, price_file = (values.pop(name) for name in ("price_per_hour", "cluster_file", "price_file"))
    if price is not None and cluster_file is not None:
        raise click.UsageError("--price-per-hour and --cluster both say the price: leave one out.")
    if price_file is not None and cluster_file is None:
        raise click.UsageError("--prices says what machines cost: name them with --cluster FILE.")
    if price is None and cluster_file is None:
        price = kept.price_per_hour
    if limits["max_cost"] is not None and price is None and cluster_file is None:
        raise click.UsageError(
            "--max-cost needs --price-per-hour, the price of a GPU (or a core without one), or --cluster FILE, whose "
            "machines have prices."
        )
    return Caps(**limits, price_per_hour=price if cluster_file is None else _price_of(cluster_file, price_file))


def _price_of(cluster_file: Path, price_file: Path | None) -> float:
    """Returns the price per hour of a GPU, or of a core without one, and says which machine's it is."""
    price, machine = price_per_paid_hour(read_cluster(cluster_file), read_prices(price_file))
    unit = "core" if machine.kind == CPU else machine.kind
    market = "on spot" if machine.node_type.is_spot else "on demand"
    click.echo(f"priced at {price:.4g} per {unit}-hour: {machine.node_type.machine} {market}, from {cluster_file}")
    return price


def limits_of(values: dict[str, Any], kept: LaunchOptions = NOTHING_KEPT) -> Limits:
    """Takes the values of `limit_options` out of a command's arguments; `kept` of a launch holds where they are none.

    Raises:
        ConfigError: --on-event is neither a command nor a URL, or a file with prices or machines is wrong.
    """
    limits = Limits(
        caps=_caps_of(values, kept.caps),
        on_event=values.pop("on_event"),
        stalled_minutes=values.pop("stalled_minutes") or kept.stalled_minutes,
        verify=values.pop("verify"),
    )
    check_target(limits.on_event)
    return limits


def launch_options_of(values: Mapping[str, Any]) -> LaunchOptions:
    """Makes what a sweep keeps of its launch, but for the limits, of the values of a command's options."""
    given = {name: values[name] for name in _KEPT if name in values}
    # A launch may be resumed from another folder.
    given |= {name: path.absolute() for name, path in given.items() if isinstance(path, Path)}
    return LaunchOptions(data_dir=values["data_dir"].absolute(), **given)


def choices_of(values: Mapping[str, Any]) -> Choices:
    """Makes the user's choices of the values of a command's options, those of `grid_options` among them."""
    search = {field: values[field] for field in SEARCH_FIELDS if values[field] is not None}
    others = {field.name: values[field.name] for field in dataclasses.fields(Choices) if field.name != "search"}
    return Choices(**others, search=search)


def check_data(dataset: DatasetSpec, data_dir: Path, *, download: bool = False, needs_labels: bool = True) -> None:
    """Makes sure that every trial can load a dataset, and says what of it is not read; see `check_dataset`."""
    for note in check_dataset(dataset, data_dir, download=download, needs_labels=needs_labels):
        click.echo(note, err=True)


def check_data_if_here(dataset: DatasetSpec, data_dir: Path) -> None:
    """Checks a dataset for a plan, which may be made where the data is not.

    Raises:
        ConfigError: The images that are here cannot be split as the specification asks, or lie in another layout.
    """
    if "://" not in dataset.place:
        with suppress(UnavailableError):
            check_data(dataset, data_dir)


def plan_from_options(
    grid: str, choices: Choices, *, storage: str, data_dir: Path, download: bool = False, runs_here: bool = True
) -> Plan:
    """Builds the plan that the options ask for.

    Args:
        grid: Name or path.
        choices: What to change of it.
        storage: Where trials are whose networks are given.
        data_dir: Folder of datasets, whose classes those of networks that are given are compared with.
        download: Fetch the dataset before.
        runs_here: Whether a file of weights that is not on this machine is refused.

    Raises:
        ConfigError: A name is unknown, a network that is given cannot be read or does not fit the data, or a budget
            that the user asked for cannot be met.
        UnavailableError: A file of such a network or the data for it is not on this machine.
    """

    def look_at(uri: str, dataset: DatasetSpec, settings: ImageSettings, *, is_typed: bool) -> NetworkFacts:
        check_dataset(dataset, data_dir, download=download)
        facts, _ = look_at_network(
            uri,
            dataset,
            settings,
            data_dir=data_dir,
            labels_file=None,
            has_labels=True,
            has_same_classes=True,
            is_typed=is_typed,
            storage=storage,
        )
        return facts

    plan = build_plan(build_grid(grid, choices, num_sites, look_at), num_sites)
    check_starts(plan, storage)
    for cell in plan.grid.cells:
        if cell.recipe.rescaled and not cell.recipe.given:
            check_rescalable(cell.recipe.architecture, cell.recipe.rescaled)
    if plan.grid.teacher:
        with nullcontext() if runs_here else suppress(UnavailableError):
            check_teacher(plan.grid.teacher, plan.grid.dataset)
    if plan.refused and (choices.budgets or Stage.PAIR not in plan.stages):
        # A named grid may hold printed cells that cannot be run; a budget typed by hand is a mistake.
        raise InfeasibleBudgetError(plan.refused[0].reason)
    return plan


def assessment_from_options(
    uri: str, values: Mapping[str, Any], *, storage: str, download: bool
) -> tuple[Grid, str, str]:
    """Opens the network, checks the data, and builds the grid that assesses it.

    Returns:
        The grid, the name of the sweep unless the user gives one, and a sentence on the classes.

    Raises:
        ConfigError: The network or the data cannot be read, they do not fit each other, or a value breaks its rule.
        UnavailableError: A file or a library is not on this machine.
    """
    has_labels, trains, reference = values["labels"] != NO_LABELS, values["train"], values["reference"]
    if reference is not None:
        _check_reference(model_spec(uri), model_spec(reference), values)
    _check_training(model_spec(uri), values)
    sizes = {name: values[name] for name in ("image_size", "train_images", "test_images")}
    dataset = dataset_spec(values["dataset"], **sizes)
    check_data(dataset, values["data_dir"], download=download, needs_labels=trains)
    settings = parse(ImageSettings, {name: values[name] for name in ImageSettings.model_fields}, place="")
    facts, class_names = look_at_network(
        reference or uri,
        dataset,
        settings,
        data_dir=values["data_dir"],
        labels_file=Path(values["labels"]) if has_labels and values["labels"] else None,
        has_labels=has_labels,
        has_same_classes=trains,
        storage=storage,
    )
    train = None
    if trains:
        num_images = count_trained(facts.dataset, values["data_dir"])
        train = TrainingData(num_images=num_images, class_names=facts.class_names)
    quantized_file = None
    if reference is not None:
        largest_drop = largest_drop_of([parse_rule(text) for text in values["fail_if"]])
        quantized_file = QuantizedFile(model=look_at_quantized_file(uri, facts), largest_drop=largest_drop)
    grid = assess_grid(
        facts.model,
        facts.dataset,
        architecture=facts.architecture,
        num_sites=facts.num_sites_at(values["sites"]),
        labels=facts.labels,
        class_names=class_names,
        effort=facts.effort,
        quantized_file=quantized_file,
        train=train,
        overrides=values["overrides"],
        **{name: values[name] for name in _OF_ASSESSMENTS},
    )
    parts = ["assess", model_slug(uri), dataset_slug(dataset.name)]
    parts += [values["sites"]] if values["sites"] != SITE_PLACEMENTS[0] else []
    parts += [f"{values['range_scope']}-ranges"] if values["range_scope"] != RANGE_SCOPES[0] else []
    parts += ["equalized"] if values["equalize"] else []
    return grid, "-".join(parts), facts.how_labelled


def _check_reference(model: ModelSpec, reference: ModelSpec, values: Mapping[str, Any]) -> None:
    """Refuses what does not go with --reference, before any file is opened."""
    for spec, what in ((model, "MODEL"), (reference, "--reference")):
        if spec.kind != "onnx":
            raise ConfigError(
                f"{what} {spec.uri} is no ONNX file, and --reference goes with two: onnx:FILE quantized by ONNX "
                "Runtime as MODEL, and onnx:FILE that it was made from as --reference."
            )
    for option in ("train", "equalize"):
        if values[option]:
            raise ConfigError(f"--{option} changes a network, and --reference measures a file as it is: leave it out.")


def _check_training(model: ModelSpec, values: Mapping[str, Any]) -> None:
    """Refuses what does not go with --train, before the network is opened, and what needs it."""
    if values["train"]:
        check_trainable(model, has_labels=values["labels"] != NO_LABELS, equalize=values["equalize"])
        return
    for option, name in (("--set", "overrides"), ("--train-images", "train_images")):
        if values[name]:
            raise ConfigError(f"{option} says how to train, and nothing is trained: add --train.")
