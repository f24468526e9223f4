"""`dptq-sweep cluster`: files that describe a cluster, and sweeps on it."""

import click

from orchestrator.cli import cluster_files, cluster_jobs

# Modules that bring commands of the group, in the order of use.
MODULES = (cluster_files, cluster_jobs)


@click.group("cluster", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Describe a cluster and run sweeps on it: AWS, Google Cloud, Azure, Kubernetes, SLURM, machines of your own."""


for module in MODULES:
    for subcommand in module.COMMANDS:
        command.add_command(subcommand)
