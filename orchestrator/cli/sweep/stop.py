"""`dptq-sweep stop`: end a launch or analyses in order, from anywhere that sees the storage."""

import click

from orchestrator.cli.options import storage_option, sweep_argument
from search_spaces.errors import ConfigError


@click.command("stop")
@sweep_argument
@storage_option
def command(name: str | None, storage: str) -> None:
    """End the launch of a sweep, or its analyses: nothing new starts, running trials save their epoch and end.

    A running analysis saves the unit at which it is. Returns at once. What is stopped ends with exit code 0 and prints
    the command that goes on.
    """
    from orchestrator.cli.values import open_sweep

    sweep, _ = open_sweep(storage, name)
    if not sweep.has_driver():
        raise ConfigError(f"nothing is at work on sweep {sweep.name!r}: there is nothing to stop.")
    sweep.ask_to_stop()
    click.echo(
        f"sweep {sweep.name} stops after the running epochs; go on with: {sweep.resume_command()}, or with its "
        f"analyses: {sweep.command('analyze')}"
    )
