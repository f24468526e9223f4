"""`dptq-sweep ui`: a sweep in MLflow's pages, or its studies in optuna-dashboard."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import click

from orchestrator.cli.options import storage_option, sweep_argument

MLFLOW_PORT, OPTUNA_PORT = 5000, 8080
_POLL_SECONDS = 0.5


@click.command("ui")
@sweep_argument
@storage_option
@click.option("--compare", "compares", is_flag=True, help="Open MLflow's comparison of robust and detrimental pairs.")
@click.option("--optuna", "shows_studies", is_flag=True, help="Open the studies of the sweep in optuna-dashboard.")
@click.option("--tracking-uri", help="As given to launch. [default: that of the launch]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Port to listen on. [default: {MLFLOW_PORT}; with --optuna {OPTUNA_PORT}]",
)
@click.option(
    "--browser/--no-browser",
    "opens",
    default=None,
    help="Whether to open the page. [default: in a terminal of a machine with a screen]",
)
def command(
    name: str | None,
    storage: str,
    compares: bool,
    shows_studies: bool,
    tracking_uri: str | None,
    host: str,
    port: int | None,
    opens: bool | None,
) -> None:
    """Open a sweep in MLflow, the latest one unless named, on the charts of its pairs; Ctrl-C ends it.

    With --compare, MLflow's comparison of the pairs that stand for their cells, robust beside detrimental. With
    --optuna, the studies of the sweep, which can be watched while a launch searches: the page changes nothing. Runs on
    an MLflow server have its pages: their addresses are printed.
    """
    if shows_studies:
        if tracking_uri is not None or compares:
            given = "--compare" if compares else "--tracking-uri"
            raise click.UsageError(f"{given} is for MLflow's UI: leave it out, or --optuna.")
        _show_studies(name, storage, host, port or OPTUNA_PORT)
        return
    _show_runs(name, storage, tracking_uri, host, port or MLFLOW_PORT, compares=compares, opens=opens)


def _show_runs(
    name: str | None,
    storage: str,
    tracking_uri: str | None,
    host: str,
    port: int,
    *,
    compares: bool,
    opens: bool | None,
) -> None:
    from orchestrator.cli.values import open_sweep
    from orchestrator.results.snapshot import Snapshot
    from orchestrator.store.inventory import sweeps_of
    from orchestrator.store.store import Store
    from orchestrator.tracking.backend import check, locate, ui_command
    from orchestrator.tracking.moved import follow

    store, sweep, pairs = Store(storage, create=False), None, None
    # Any MLflow database can be looked at, also one that no sweep is in yet.
    if name is not None or compares or sweeps_of(store):
        sweep, plan = open_sweep(storage, name)
        tracking_uri = tracking_uri or sweep.launch_options().tracking_uri
        if compares:
            # With it comes MLflow, which takes seconds.
            from orchestrator.tracking.sweep_content import compared_pairs

            pairs = compared_pairs(Snapshot(plan, sweep.store), sweep.name)
    location = locate(tracking_uri, store)

    def show(uri: str) -> None:
        # MLflow takes seconds to import, in which its server starts.
        from orchestrator.tracking.experiments import Owner
        from orchestrator.tracking.links import find_pages

        pages = find_pages(uri, Owner(storage=store.read_id() or "", sweep=sweep.name), pairs) if sweep else {}
        if sweep and not pages:
            click.echo(f"MLflow has no runs of sweep {sweep.name} yet: its launch, or `resume`, brings them.")
        for what, page in pages.items():
            click.echo(f"{sweep.name if sweep else ''}, {what}: {page}")
        if opens if opens is not None else _has_screen():
            webbrowser.open([*pages.values(), uri][1 if compares and len(pages) > 1 else 0])

    if location.database is None:
        check(location)
        show(location.uri)
        return
    follow(location)
    arguments = ui_command(tracking_uri, store, host, port)
    _check_port(host, port)
    click.echo(f"MLflow UI at http://{host}:{port}; Ctrl-C ends it")
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    sys.exit(_run_to_the_end(arguments, address, show))


def _check_port(host: str, port: int) -> None:
    """Makes sure that the port can be had: the server says so in twenty lines, and links would lead to another one."""
    from search_spaces.errors import ConfigError, one_line

    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        reason = (error.strerror or one_line(error)).lower()
        raise ConfigError(f"cannot listen on {host}:{port} ({reason}): choose another --port or --host.") from None


def _has_screen() -> bool:
    """Tells whether a browser that is opened here would be seen: a terminal, on a machine with a desktop."""
    has_desktop = sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    return sys.stdout.isatty() and has_desktop


def _run_to_the_end(arguments: list[str], address: str, show: Callable[[str], None]) -> int:
    """Runs a server and ends it, with the processes that it started, however this process is asked to end.

    Once it answers at its address, `show` is called with that.
    """
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
        threading.Thread(target=_show_when_up, args=(server, address, show), daemon=True).start()
        code = server.wait()
    return 0 if asked else code


def _show_when_up(server: "subprocess.Popen[bytes]", address: str, show: Callable[[str], None]) -> None:
    from orchestrator.tracking.backend import answers
    from search_spaces.errors import TrackingError

    while server.poll() is None and not answers(address):
        time.sleep(_POLL_SECONDS)
    if server.poll() is None:
        try:
            show(address)
        except TrackingError as error:
            click.echo(error, err=True)


def _show_studies(name: str | None, storage: str, host: str, port: int) -> None:
    from orchestrator.cli.values import open_sweep
    from orchestrator.search.dashboard import open_server, study_file

    sweep, plan = open_sweep(storage, name)
    with study_file(sweep, plan, click.echo) as path, open_server(path, host, port) as server:
        click.echo(f"studies of sweep {sweep.name!r} at http://{host}:{port}/dashboard, read-only; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
