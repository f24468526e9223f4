"""`dptq-sweep verify`: does a network fail for real, or only in the simulation?"""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.completion import datasets, uids
from orchestrator.cli.help import GroupedCommand, what
from orchestrator.cli.options import FILE, data_dir_option, download_option, image_options, storage_option, trust_option
from search_spaces.dataset_kinds import DATASET_FORMS


@click.command("verify", cls=GroupedCommand)
@click.argument("network", metavar="UID|MODEL", shell_complete=uids)
@what(
    "--data",
    "dataset",
    required=True,
    shell_complete=datasets,
    help=f"Images to run it on: {', '.join(DATASET_FORMS)}.",
)
@image_options
@what("--test-images", type=click.IntRange(min=1), help="Run so many test images. [default: all]")
@what("--json", "json_file", type=FILE, help="Write what was found here, too.")
@storage_option
@trust_option
@data_dir_option
@download_option
def command(
    network: str, dataset: str, storage: str, data_dir: Path, download: bool, json_file: Path | None, **others: Any
) -> None:
    """Compare the simulation of a network with ONNX Runtime, image by image.

    UID is the beginning of a trial's uid, or its name; a pair runs at the bits of its policy. MODEL is a URI such as
    timm:NAME@FILE, and runs at 8 bits. Says whether the format breaks it, this runtime does (and by which nodes), or
    neither. Of a trial it is kept in the storage, and stands in report and MLflow of its sweeps.
    """
    from orchestrator.cli.values import NO_LABELS, check_data
    from orchestrator.console import make_console
    from orchestrator.launch.ending.assessments import check_writable
    from orchestrator.launch.verification import conclude, keep
    from orchestrator.progress.verification import VerificationProgress
    from orchestrator.workers.entry_points import verify_network
    from search_spaces.datasets import dataset_spec
    from search_spaces.model import parse
    from search_spaces.stages.assessment import ImageSettings

    console = make_console()
    check_writable(json_file, "--json")
    spec = dataset_spec(dataset, image_size=others["image_size"], test_images=others["test_images"])
    settings = parse(ImageSettings, {name: others[name] for name in ImageSettings.model_fields}, place="")
    check_data(spec, data_dir, download=download)
    labels = others["labels"]
    with VerificationProgress(console) as progress:
        found, facts = verify_network(
            storage,
            network,
            spec,
            settings,
            data_dir=data_dir,
            labels_file=Path(labels) if labels and labels != NO_LABELS else None,
            has_labels=labels != NO_LABELS,
            on_progress=progress.advanced,
        )
    conclude(found, facts, console, json_file)
    keep(found, facts, storage, console)
