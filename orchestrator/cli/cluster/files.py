"""`dptq-sweep cluster render`, `validate`, `copy-data`: what clusters are made from, checked before it costs money."""

import sys
from pathlib import Path
from typing import Any

import click

from cluster.files.kinds import DEFAULT_NAME, DEFAULT_SWEEP, KINDS, WITH_A_SWEEP
from cluster.providers.registry import PROVIDERS
from orchestrator.cli.sweep import launch
from search_spaces.errors import ConfigError, UnavailableError


def _defaults(field: str) -> str:
    return ", ".join(f"{getattr(provider, field)} on {name}" for name, provider in PROVIDERS.items())


_WITH_PROJECTS = ", ".join(name for name, provider in PROVIDERS.items() if provider.project_field)


@click.command("render")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("sweep", nargs=-1, type=click.UNPROCESSED, metavar="[-- launch ARGS]")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File. [default: print it]")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="Of the cluster or job.")
@click.option(
    "--bucket", default="", help="Where all machines keep trials: s3://..., gs://..., abfss://... or a shared path."
)
@click.option("--region", default="", help=f"Of the cloud. [default: {_defaults('default_region')}]")
@click.option("--project", default="", help=f"Project that pays; needed on {_WITH_PROJECTS}.")
@click.option("--instance", default="", help=f"GPU machine of the workers. [default: {_defaults('default_machine')}]")
@click.option(
    "--max-workers", type=click.IntRange(min=1), default=8, show_default=True, help="At a time; nodes of a SLURM job."
)
@click.option(
    "--spot-share",
    type=click.FloatRange(0, 1),
    default=0.75,
    show_default=True,
    help="Share of the workers that may be spot machines.",
)
@click.option("--image", default="", help="Container image with dptq-sweep. [default: Ray's, or the Dockerfile's tag]")
def render_command(kind: str, sweep: tuple[str, ...], output: Path | None, force: bool, **options: Any) -> None:
    """Write a cluster file: a launcher file, Kubernetes manifests, a SLURM script or a Dockerfile.

    rayjob and slurm carry the sweep, given as it would be on a laptop: `-- launch --grid full`. Comments in the file
    say what to edit and what it costs.
    """
    from cluster.files.render import ClusterOptions, render

    text = render(kind, ClusterOptions(sweep=_checked_sweep(kind, sweep), **options))
    if output is None:
        click.echo(text, nl=False)
        return
    if output.exists() and not force:
        raise ConfigError(f"{output} exists, perhaps with edits of yours: pass --force to replace it.")
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{output} cannot be written: {error.strerror}.") from error
    click.echo(f"wrote {output}; next: dptq-sweep cluster validate {output}")


def _checked_sweep(kind: str, sweep: tuple[str, ...]) -> tuple[str, ...]:
    """Finds mistakes in the command now, and not when the cluster runs it."""
    if not sweep:
        return DEFAULT_SWEEP
    if kind not in WITH_A_SWEEP:
        raise ConfigError(f"a file of kind {kind} carries no sweep: send it one with `dptq-sweep cluster submit`.")
    if sweep[0] != "launch":
        raise ConfigError(f"{sweep[0]!r} cannot begin a sweep: write -- launch ARGS; a launch also goes on with one.")
    launch.command.make_context("launch", list(sweep[1:]))
    return sweep


@click.command("validate")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--crd", type=click.Path(path_type=Path), help="KubeRay's own definition of the kind, to check against.")
def validate_command(file: Path, crd: Path | None) -> None:
    """Look through a cluster file; without a cloud, a cluster or the network.

    One line for every mistake, with its hint; exits with 1 where there is any.
    """
    from cluster.validation.files import check_file

    checked = check_file(file, crd)
    for finding in checked.findings:
        click.echo(f"{file}: {finding}")
    if checked.findings:
        sys.exit(1)
    click.echo(f"{file}: {checked.kind}, nothing to complain about")


@click.command("copy-data")
@click.argument("source")
@click.argument("target")
@click.option("--optional", is_flag=True, help="Succeed where there is nothing at SOURCE: some grids need no data.")
def copy_data_command(source: str, target: str, optional: bool) -> None:
    """Copy datasets to a bucket, or from there to this machine; SOURCE and TARGET are folders or URIs."""
    from cluster.remote.data_copy import copy_data

    num_files = copy_data(source, target)
    if not num_files and not optional:
        raise UnavailableError(f"there are no files at {source}: put datasets there, as --data-dir would hold them.")
    click.echo(f"copied {num_files} files from {source} to {target}")


COMMANDS = (render_command, validate_command, copy_data_command)
"""Of the group `cluster`."""
