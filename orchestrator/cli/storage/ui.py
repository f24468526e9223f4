"""`dptq-sweep ui`: a storage in MLflow's UI, or the studies of a sweep in optuna-dashboard."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

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
    sys.exit(_run_to_the_end(arguments))


def _run_to_the_end(arguments: list[str]) -> int:
    """Runs a server and ends it, with the processes that it started, however this process is asked to end."""
    # A group of its own: `mlflow server` is the parent of what listens, and does not pass signals on.
    asked: list[int] = []
    with subprocess.Popen(arguments, process_group=0) as server:

        def end(signal_number: int, frame: FrameType | None) -> None:
            asked.append(signal_number)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)

        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, end)
        code = server.wait()
    return 0 if asked else code


def _show_studies(name: str | None, storage: str, host: str, port: int) -> None:
    from orchestrator.cli.values import open_sweep
    from orchestrator.search.dashboard import open_server, study_file

    sweep, plan = open_sweep(storage, name)
    with study_file(sweep, plan, click.echo) as path, open_server(path, host, port) as server:
        click.echo(f"studies of sweep {sweep.name!r} at http://{host}:{port}/dashboard, read-only; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
