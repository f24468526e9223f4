"""`dptq-sweep cluster`: files that describe a cluster, and sweeps on it."""

import click

from orchestrator.cli.cluster import files, jobs
from orchestrator.cli.help import Group


@click.group("cluster", cls=Group)
def command() -> None:
    """Describe a cluster and run sweeps on it: AWS, Google Cloud, Azure, Kubernetes, SLURM, machines of your own."""


for subcommand in (*files.COMMANDS, *jobs.COMMANDS):
    command.add_command(subcommand)
