"""`dptq-sweep logs`: what one trial measured, and why it failed."""

import click

from orchestrator.cli.completion import uids
from orchestrator.cli.options import storage_option


@click.command("logs")
@click.argument("trial", metavar="UID", shell_complete=uids)
@click.option("-f", "--follow", is_flag=True, help="Follow until the trial ends or no launch works on it.")
@storage_option
def command(trial: str, follow: bool, storage: str) -> None:
    """Print the epochs of a trial, and of a failed one what its worker printed last and its error.

    UID is the beginning of its uid, or its name.
    """
    from orchestrator.progress.logs import log_lines
    from orchestrator.store.inventory import find_trial
    from orchestrator.store.store import Store

    store = Store(storage, create=False)
    for line in log_lines(find_trial(store, trial), store, follow=follow):
        click.echo(line)
