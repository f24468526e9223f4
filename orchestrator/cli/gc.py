"""`dptq-sweep gc`: remove what no sweep of a storage needs any more."""

import importlib
from contextlib import ExitStack

import click
from rich.console import Console

from orchestrator.cli.ls import megabytes
from orchestrator.cli.options import storage_option, tracking_option
from orchestrator.console import make_console
from orchestrator.store.inventory import Garbage, find_garbage, remove, sweeps_of
from orchestrator.store.store import Store
from orchestrator.tracking.backend import Location, check, locate


@click.command("gc")
@storage_option
@click.option("--plan", "is_plan", is_flag=True, help="Only list what would go, with sizes.")
@tracking_option
def command(storage: str, is_plan: bool, tracking_uri: str | None) -> None:
    """Remove trials and analyses that no sweep reaches, resume states of finished trials and unfinished files.

    To remove a sweep, delete its folder below sweeps/ and call this. Refuses to work while a launch does.
    """
    store, console = Store(storage, create=False), make_console()
    with ExitStack() as locks:
        if not is_plan:
            for sweep in sweeps_of(store):
                locks.enter_context(sweep.driver())
        garbage = find_garbage(store)
        for each in garbage:
            line = f"{megabytes(each.num_bytes):>12}  {each.path}  ({each.reason})"
            console.print(line, highlight=False, soft_wrap=True)
        total = f"{len(garbage)} things, {megabytes(sum(each.num_bytes for each in garbage))}"
        if is_plan:
            console.print(f"would remove {total}", highlight=False)
            return
        location = _tracked(store, tracking_uri)
        if location:
            check(location)
        remove(store, garbage)
        console.print(f"removed {total}", highlight=False)
        if location:
            _forget(location, store, garbage, console, is_shared=tracking_uri is not None)
        elif garbage and store.root.is_on_object_store:
            console.print("their MLflow runs stay: with --tracking-uri they would have gone, too", highlight=False)


def _tracked(store: Store, tracking_uri: str | None) -> Location | None:
    """Returns where the runs are; None if nothing was ever tracked there."""
    if tracking_uri is None and store.root.local_path is None:
        return None
    location = locate(tracking_uri, store)
    return None if location.database and not location.database.exists() else location


def _forget(location: Location, store: Store, garbage: list[Garbage], console: Console, *, is_shared: bool) -> None:
    """Moves the runs of what went to MLflow's bin; those of sweeps that are gone too, unless others use MLflow."""
    uids = {each.uid for each in garbage if each.uid}
    sweeps = None if is_shared else {sweep.name for sweep in sweeps_of(store)}
    # MLflow takes seconds to import, which `gc --plan` need not wait for.
    num_runs = importlib.import_module("orchestrator.tracking.client").discard_gone(location, uids, sweeps)
    if num_runs:
        console.print(
            f"moved {num_runs} MLflow runs to its bin; free their artifacts with: "
            f"mlflow gc --backend-store-uri {location.address}",
            highlight=False,
            soft_wrap=True,
        )
