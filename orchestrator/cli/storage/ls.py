"""`dptq-sweep ls`: the sweeps of a storage."""

import click

from orchestrator.cli.options import echo_json, json_option, storage_option


@click.command("ls")
@storage_option
@json_option
def command(storage: str, as_json: bool) -> None:
    """List the sweeps of a storage: grid, dataset, how far, last launch and size; the latest comes last."""
    from orchestrator.console import make_console
    from orchestrator.progress.sweeps import list_standings, listed_table
    from orchestrator.store.store import Store
    from orchestrator.workers.entry_points import num_sites

    listed = list_standings(Store(storage, create=False), num_sites)
    if as_json:
        echo_json([each.as_json() for each in listed])
        return
    console = make_console()
    if not listed:
        console.print(f"no sweep in {storage}: start one with `dptq-sweep launch`.", highlight=False, soft_wrap=True)
        return
    console.print(listed_table(listed), crop=False, soft_wrap=True)
