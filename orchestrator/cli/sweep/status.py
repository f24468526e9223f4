"""`dptq-sweep status`: how far a sweep is, read from the store alone."""

import click

from orchestrator.cli.options import echo_json, json_option, price_option, storage_option, sweep_argument


@click.command("status")
@sweep_argument
@storage_option
@click.option("--watch", "is_watched", is_flag=True, help="Show it again every few seconds until the sweep is over.")
@price_option
@json_option
def command(name: str | None, storage: str, is_watched: bool, price_per_hour: float | None, as_json: bool) -> None:
    """Show how far a sweep is: counts, running trials, hours, the best pair of every cell, failures and their hints."""
    from orchestrator.cli.values import open_sweep
    from orchestrator.console import make_console
    from orchestrator.progress.status import read_status, render_status, status_as_json, watch

    if as_json and is_watched:
        raise click.UsageError("--watch and --json exclude each other: --json prints one moment.")
    sweep, plan = open_sweep(storage, name)
    status = read_status(sweep, plan, price_per_hour=price_per_hour)
    if as_json:
        echo_json(status_as_json(status))
        return
    console = make_console()
    if is_watched and not status.is_over:
        status = watch(lambda: read_status(sweep, plan, price_per_hour=price_per_hour), console)
    console.print(render_status(status), crop=False, soft_wrap=True)
