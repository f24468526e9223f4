"""`dptq-sweep export`: a network, or a pair with its policy, as files that a runtime runs, or as a model of MLflow."""

from pathlib import Path

import click

from orchestrator.cli.completion import uids
from orchestrator.cli.options import FILE, data_dir_option, storage_option, tracking_option, trust_option

ONNX, MLFLOW = "onnx", "mlflow"


@click.command("export")
@click.argument("network", metavar="UID|MODEL", shell_complete=uids)
@click.option(
    "--to",
    "target",
    type=click.Choice([ONNX, MLFLOW]),
    default=ONNX,
    show_default=True,
    help="onnx writes files; mlflow registers a model that `mlflow models serve` serves.",
)
@click.option("-o", "--output", "path", type=FILE, help="With --to onnx: file to write.")
@click.option(
    "--integer",
    "is_integer",
    is_flag=True,
    help="Write ONNX Runtime's integer kernels, 8 bits everywhere, with ranges over all images of a run.",
)
@click.option("--exclude", metavar="NODE", multiple=True, help="With --integer: leave a node as it is; repeatable.")
@click.option("--name", help="With --to mlflow: name of the registered model. [default: made of network and uid]")
@click.option("--image-size", help="Pixels that the network sees, such as 224 or 48x192. [default: its own]")
@storage_option
@trust_option
@tracking_option
@data_dir_option
def command(
    network: str,
    target: str,
    path: Path | None,
    is_integer: bool,
    exclude: tuple[str, ...],
    name: str | None,
    image_size: str | None,
    storage: str,
    tracking_uri: str | None,
    data_dir: Path,
) -> None:
    """Write a network as ONNX with its bit-widths as an input; of a pair, write its policy beside it.

    UID is the beginning of a trial's uid, or its name; MODEL is a URI such as timm:NAME@FILE. The file takes images and
    bit_width_BL, where 0 is full precision, and gives logits. The policy gives the profits that bits are selected by.
    With --to mlflow, policy, knapsack and network become one model in MLflow's registry, from images to probabilities.
    """
    from search_spaces.pixels import height_width, parse_image_size

    if exclude and not is_integer:
        raise click.UsageError("--exclude names nodes that --integer would quantize: give --integer, too.")
    size = None if image_size is None else height_width(parse_image_size(image_size))
    if target == MLFLOW:
        _check_of_mlflow(path, is_integer)
        from orchestrator.tracking.models.registered import check_name

        if name is not None:
            check_name(name)
        # MLflow takes seconds to import.
        from orchestrator.tracking.models.register import register

        register(storage, network, tracking_uri, name=name, image_size=size, data_dir=data_dir, say=click.echo)
        return
    from orchestrator.launch.ending.assessments import check_writable
    from orchestrator.workers.entry_points import export_network

    if name is not None:
        raise click.UsageError("--name is that of a registered model: give --to mlflow, too.")
    if path is None:
        raise click.UsageError("Missing option '-o' / '--output': the file to write.")
    check_writable(path, "--output")
    export_network(storage, network, path, image_size=size, is_integer=is_integer, exclude=exclude, say=click.echo)


def _check_of_mlflow(path: Path | None, is_integer: bool) -> None:
    if path is not None:
        raise click.UsageError("-o names a file, and --to mlflow writes none: leave it out, or give --to onnx.")
    if is_integer:
        raise click.UsageError("--integer is for --to onnx only: a model of MLflow has its bit-widths as an input.")
