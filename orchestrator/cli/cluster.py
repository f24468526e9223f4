"""`dptq-sweep cluster`: files that describe a cluster, and sweeps on it."""

import click

from orchestrator.cli import cluster_files, cluster_jobs
from orchestrator.cli.help import Group


@click.group("cluster", cls=Group)
def command() -> None:
    """Describe a cluster and run sweeps on it: AWS, Google Cloud, Azure, Kubernetes, SLURM, machines of your own."""


for subcommand in (*cluster_files.COMMANDS, *cluster_jobs.COMMANDS):
    command.add_command(subcommand)
