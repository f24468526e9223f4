"""`dptq-sweep ui`: a storage in MLflow's UI, or the studies of a sweep in optuna-dashboard."""

import subprocess
import sys
from contextlib import suppress

import click

from orchestrator.cli.options import storage_option, sweep_argument

MLFLOW_PORT, OPTUNA_PORT = 5000, 8080


@click.command("ui")
@sweep_argument
@storage_option
@click.option("--optuna", "shows_studies", is_flag=True, help="Open the studies of the sweep in optuna-dashboard.")
@click.option("--tracking-uri", help="As given to launch. [default: the database in the storage]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Port to listen on. [default: {MLFLOW_PORT}; with --optuna {OPTUNA_PORT}]",
)
def command(
    name: str | None, storage: str, shows_studies: bool, tracking_uri: str | None, host: str, port: int | None
) -> None:
    """Open the sweeps of a storage in MLflow's UI, or the studies of one with --optuna; Ctrl-C ends it.

    The studies can be watched while a launch searches: the page shows them and changes nothing.
    """
    if shows_studies:
        if tracking_uri is not None:
            raise click.UsageError("--tracking-uri is for MLflow's UI: leave it out, or --optuna.")
        _show_studies(name, storage, host, port or OPTUNA_PORT)
        return
    if name is not None:
        raise click.UsageError(f"MLflow's UI shows all sweeps of a storage: leave out {name!r}, or add --optuna.")
    from orchestrator.store.store import Store
    from orchestrator.tracking.backend import ui_command

    port = port or MLFLOW_PORT
    arguments = ui_command(tracking_uri, Store(storage, create=False), host, port)
    click.echo(f"MLflow UI at http://{host}:{port}")
    sys.exit(subprocess.run(arguments, check=False).returncode)


def _show_studies(name: str | None, storage: str, host: str, port: int) -> None:
    from orchestrator.cli.values import open_sweep
    from orchestrator.search.dashboard import open_server, study_file

    sweep, plan = open_sweep(storage, name)
    with study_file(sweep, plan, click.echo) as path, open_server(path, host, port) as server:
        click.echo(f"studies of sweep {sweep.name!r} at http://{host}:{port}/dashboard, read-only; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
