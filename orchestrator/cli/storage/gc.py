"""`dptq-sweep gc`: remove what no sweep of a storage needs any more."""

from contextlib import ExitStack

import click

from orchestrator.cli.options import storage_option, tracking_option


@click.command("gc")
@storage_option
@click.option("--plan", "is_plan", is_flag=True, help="Only list what would go, with sizes.")
@tracking_option
def command(storage: str, is_plan: bool, tracking_uri: str | None) -> None:
    """Remove trials and analyses that no sweep reaches, resume states of finished trials and unfinished files.

    To remove a sweep, delete its folder below sweeps/ and call this. Refuses to work while a launch does; one that
    starts meanwhile waits.
    """
    from orchestrator.console import line_printer, make_console, megabytes
    from orchestrator.store.inventory import find_garbage, remove, sweeps_of
    from orchestrator.store.leases.collection import collecting
    from orchestrator.store.store import Store
    from orchestrator.tracking.backend import check, locate_existing

    store, say = Store(storage, create=False), line_printer(make_console())
    with ExitStack() as locks:
        if not is_plan:
            locks.enter_context(collecting(store))
            for sweep in sweeps_of(store):
                locks.enter_context(sweep.locked())
        garbage = find_garbage(store)
        for each in garbage:
            say(f"{megabytes(each.num_bytes):>12}  {each.path}  ({each.reason})")
        total = f"{len(garbage)} things, {megabytes(sum(each.num_bytes for each in garbage))}"
        if is_plan:
            say(f"would remove {total}")
            return
        location = locate_existing(tracking_uri, store)
        if location:
            check(location)
        remove(store, garbage)
        say(f"removed {total}")
        if location is None:
            if garbage and store.root.is_on_object_store:
                say("their MLflow runs stay: with --tracking-uri they would have gone, too")
            return
        # MLflow takes seconds to import, which `gc --plan` need not wait for.
        from orchestrator.tracking.experiments import discard_gone

        uids, sweeps = {each.uid for each in garbage if each.uid}, {sweep.name for sweep in sweeps_of(store)}
        if num_runs := discard_gone(location, store.read_id(), uids, sweeps, is_alone=tracking_uri is None):
            say(
                f"moved {num_runs} MLflow runs to its bin; free their artifacts with: "
                f"mlflow gc --backend-store-uri {location.address}"
            )
