"""`dptq-sweep assess`: how badly a network that is given can fail under dynamic quantization, and where."""

from typing import Any

import click

from orchestrator.cli.completion import datasets
from orchestrator.cli.help import GroupedCommand, limit, other, what
from orchestrator.cli.options import (
    FILE,
    data_dir_option,
    download_option,
    image_options,
    limit_options,
    place_options,
    storage_option,
)
from orchestrator.store.failures import MAX_RETRIES
from search_spaces.dataset_kinds import DATASET_FORMS
from search_spaces.names import MAX_SEED, RANGE_SCOPES, SITE_PLACEMENTS


@click.command("assess", cls=GroupedCommand)
@click.argument("model")
@what(
    "--data",
    "dataset",
    required=True,
    shell_complete=datasets,
    help=f"Images to measure it on: {', '.join(DATASET_FORMS)}.",
)
@what(
    "--reference",
    metavar="onnx:FILE",
    help="Float file that MODEL, a quantized ONNX file, was made from: tells what MODEL costs and which nodes to "
    "exclude. Budgets are measured only where --budget asks for them.",
)
@what("--name", help="Name of the sweep. [default: the network and the dataset]")
@what(
    "--budget",
    "budgets",
    multiple=True,
    type=click.IntRange(min=1),
    help="Sum of the bit-widths over all sites of an image; repeatable. [default: 4, 5.5 and 7 bits per site]",
)
@what("--option-set", default="I", show_default=True, help="I (3..10 bits), II (4..10) or III (5..10).")
@what("--draws", type=click.IntRange(min=1), help="Random allocations per image. [default: 20; 5 if it is heavy]")
@what(
    "--max-passes",
    type=click.IntRange(min=1),
    help="Of the attack, per image. [default: 120; 12 if it is heavy]",
)
@image_options
@what("--equalize", is_flag=True, help="Undo rescaled links first, which changes no answer at full precision.")
@what(
    "--train",
    is_flag=True,
    help="At every budget, train a robust and a detrimental policy for the network as it is, and a fine-tuned pair.",
)
@what(
    "--set",
    "overrides",
    multiple=True,
    metavar="pair.FIELD=VALUE",
    help="Any field of the recipe that --train takes, such as pair.epochs=8; repeatable.",
)
@what("--train-images", type=click.IntRange(min=1), help="Train on so many images, validation included. [default: all]")
@what(
    "--sites",
    type=click.Choice(SITE_PLACEMENTS),
    default=SITE_PLACEMENTS[0],
    show_default=True,
    help="Quantize the outputs of layers, as the paper does, or their inputs, as runtimes do.",
)
@what(
    "--range-scope",
    type=click.Choice(RANGE_SCOPES),
    default=RANGE_SCOPES[0],
    show_default=True,
    help="What shares a range: an image, all images of a batch, as in ONNX Runtime, or a channel of an image.",
)
@what(
    "--companions",
    is_flag=True,
    help="Also measure what answers depend on the other images of a batch, with ranges over the batch.",
)
@what("--test-images", type=click.IntRange(min=1), help="Measure on so many test images. [default: all]")
@what("--seed", type=click.IntRange(min=0, max=MAX_SEED), default=0, show_default=True, help="Of everything random.")
@what(
    "--fail-if",
    multiple=True,
    metavar="RULE",
    help="End with exit code 3 where this is shown: 'uniform.drop > 2' (percentage points), suspicious or fragile; "
    "repeatable.",
)
@what("--json", "json_file", type=FILE, help="Write the assessment here, too.")
@what("--junit", "junit_file", type=FILE, help="Write the outcomes of the rules here, as a JUnit report.")
@storage_option
@data_dir_option
@download_option
@place_options
@limit("--gpus-per-trial", type=click.FloatRange(min=0.01, max=1), help="Share of a GPU for every part. [default: 0.5]")
@limit("--max-retries", type=click.IntRange(min=0), default=MAX_RETRIES, show_default=True, help="After an error.")
@limit_options
@other("--dry-run", is_flag=True, help="Only show the plan.")
def command(
    model: str, name: str | None, storage: str, download: bool, dry_run: bool, fail_if: tuple[str, ...], **others: Any
) -> None:
    """Measure how a network that is given fares under dynamic quantization, from benign to hostile allocations.

    MODEL is a URI such as timm:NAME@FILE; what there is, an unknown kind tells. With --reference it is an ONNX file
    that is quantized already. Nothing is trained unless --train is given. Parts that are done are kept, interrupted
    ones go on from their last rung or epoch.
    """
    from cluster.runtime.session import check_address
    from orchestrator.cli.values import assessment_from_options, launch_options_of, limits_of
    from orchestrator.console import line_printer, make_console
    from orchestrator.launch.driver import launch_sweep
    from orchestrator.launch.ending.assessments import check_writable
    from orchestrator.launch.ending.finish import finish_sweep
    from orchestrator.plan import build_plan
    from orchestrator.progress.plan import print_plan
    from orchestrator.results.gate import check_rules
    from orchestrator.results.snapshot import Snapshot
    from orchestrator.store.store import Store
    from orchestrator.store.sweep import Sweep
    from orchestrator.tracking.backend import check, locate
    from orchestrator.workers.entry_points import num_sites
    from search_spaces.stages.assessment import FILE_RUNGS, LADDER_RUNGS, NETWORK_RUNGS, TRAINED_RUNGS
    from search_spaces.stages.rules import parse_rule

    console = make_console()
    limits, options = limits_of(others), launch_options_of(others)
    has_file = others["reference"] is not None
    rungs = (*NETWORK_RUNGS, *(FILE_RUNGS if has_file else ()))
    rungs += LADDER_RUNGS if others["budgets"] or not has_file else ()
    rungs += TRAINED_RUNGS if others["train"] else ()
    check_rules([parse_rule(text) for text in fail_if], rungs)
    check_writable(options.json_file, "--json")
    check_writable(options.junit_file, "--junit")
    options = options.model_copy(update={"fail_if": fail_if})
    check_address(options.address)
    location = locate(options.tracking_uri, Store(storage, create=False))
    if options.tracking_uri is not None and not dry_run:
        check(location)
    grid, default_name, how_labelled = assessment_from_options(
        model, others | {"fail_if": fail_if}, storage=storage, download=download
    )
    plan = build_plan(grid, num_sites)
    # Code runs only for whoever typed its name: nothing else than this command says so.
    typed = [recipe.model.uri for recipe in grid.assessments]
    if dry_run:
        there = Store(storage, create=False)
        print_plan(plan, Snapshot(plan, there).states, there, console)
        return
    store = Store(storage)
    sweep = Sweep(store, name or default_name)
    say = line_printer(console)
    say(f"{grid.dataset.title}. {how_labelled}")
    with sweep.driver(say):
        if num_new := sweep.save_plan(plan):
            console.print(f"sweep {sweep.name} grows by {num_new} trials", highlight=False)
        outcome = launch_sweep(sweep, plan, options, console, limits=limits, typed_models=typed)
    finish_sweep(sweep, outcome, console)
