"""`dptq-sweep ls`: the sweeps of a storage."""

from dataclasses import asdict

import click

from orchestrator.cli.options import echo_json, json_option, storage_option


@click.command("ls")
@storage_option
@json_option
def command(storage: str, as_json: bool) -> None:
    """List the sweeps of a storage: grid, dataset, trials done, last launch and size; the latest comes last."""
    from orchestrator.console import make_console, make_table
    from orchestrator.store.inventory import list_sweeps
    from orchestrator.store.store import Store

    entries = list_sweeps(Store(storage, create=False))
    if as_json:
        echo_json([asdict(entry) for entry in entries])
        return
    console = make_console()
    if not entries:
        console.print(f"no sweep in {storage}: start one with `dptq-sweep launch`.", highlight=False, soft_wrap=True)
        return
    table = make_table("sweep", "grid", "dataset", "done", "last launch (UTC)", "size", right=("done", "size"))
    for entry in entries:
        launched = entry.launched_at[:16].replace("T", " ")
        done = f"{entry.num_done}/{entry.num_trials}"
        table.add_row(entry.name, entry.grid, entry.dataset, done, launched, megabytes(entry.num_bytes))
    console.print(table)


def megabytes(num_bytes: int) -> str:
    """Writes a size for people.

    Examples:
        >>> megabytes(1_234_567), megabytes(0)
        ('1.2 MB', '0.0 MB')
    """
    return f"{num_bytes / 1e6:,.1f} MB"
