"""`dptq-sweep export`: a network, or a pair with its policy, as files that a runtime runs."""

from pathlib import Path

import click

from orchestrator.cli.completion import uids
from orchestrator.cli.options import FILE, storage_option


@click.command("export")
@click.argument("network", metavar="UID|MODEL", shell_complete=uids)
@click.option("--to", "runtime", type=click.Choice(["onnx"]), default="onnx", show_default=True, help="Format.")
@click.option("-o", "--output", "path", type=FILE, required=True, help="File to write.")
@click.option(
    "--integer",
    "is_integer",
    is_flag=True,
    help="Write ONNX Runtime's integer kernels, 8 bits everywhere, with ranges over all images of a run.",
)
@click.option("--exclude", metavar="NODE", multiple=True, help="With --integer: leave a node as it is; repeatable.")
@click.option("--image-size", help="Pixels that the network sees, such as 224 or 48x192. [default: its own]")
@storage_option
def command(
    network: str,
    runtime: str,
    path: Path,
    is_integer: bool,
    exclude: tuple[str, ...],
    image_size: str | None,
    storage: str,
) -> None:
    """Write a network as ONNX with its bit-widths as an input; of a pair, write its policy beside it.

    UID is the beginning of a trial's uid, or its name; MODEL is a URI such as timm:NAME@FILE. The file takes images and
    bit_width_BL, where 0 is full precision, and gives logits. The policy gives the profits that bits are selected by.
    """
    from orchestrator.launch.assessments import check_writable
    from orchestrator.workers.entry_points import export_network
    from search_spaces.pixels import height_width, parse_image_size

    if exclude and not is_integer:
        raise click.UsageError("--exclude names nodes that --integer would quantize: give --integer, too.")
    size = None if image_size is None else height_width(parse_image_size(image_size))
    check_writable(path, "--output")
    export_network(storage, network, path, image_size=size, is_integer=is_integer, exclude=exclude, say=click.echo)
