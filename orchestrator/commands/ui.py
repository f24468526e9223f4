"""`dptq-sweep ui`: MLflow's UI on the storage's database."""

import subprocess
import sys

import click

from orchestrator.commands.options import storage_option
from orchestrator.store import Store
from orchestrator.tracking_uri import ui_command


@click.command("ui")
@storage_option
@click.option("--tracking-uri", help="As given to launch. [default: the database in the storage]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
def command(storage: str, tracking_uri: str | None, host: str, port: int) -> None:
    """Open the sweeps of a storage in MLflow's UI; Ctrl-C ends it."""
    arguments = ui_command(tracking_uri, Store(storage, create=False), host, port)
    click.echo(f"MLflow UI at http://{host}:{port}")
    sys.exit(subprocess.run(arguments, check=False).returncode)
