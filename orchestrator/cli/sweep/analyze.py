"""`dptq-sweep analyze`: measure the pairs of a sweep, and write the tables and figures that come of it."""

import sys
from pathlib import Path

import click

from orchestrator.cli.options import launched_data_dir_option, place_options, storage_option, sweep_argument


class AnalysisName(click.types.StringParamType):
    """Lists the analyses in the help; imports them no sooner, for it takes a moment."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Returns all names."""
        from search_spaces.analyses import ANALYSES

        return f"[{'|'.join(ANALYSES)}]"


@click.command("analyze")
@sweep_argument
@storage_option
@launched_data_dir_option
@click.option("--only", multiple=True, type=AnalysisName(), help="Repeatable. [default: all]")
@click.option(
    "--set",
    "assignments",
    metavar="ANALYSIS.SETTING=VALUE",
    multiple=True,
    help="Change a setting, for example layers.max_images=500; repeatable, and kept with the sweep.",
)
@place_options
def command(
    name: str | None,
    storage: str,
    data_dir: Path | None,
    only: tuple[str, ...],
    assignments: tuple[str, ...],
    address: str | None,
    shared_storage: bool,
    tracking_uri: str | None,
) -> None:
    """Measure the pairs of a sweep: cross-policy, transitory points, layers, histograms, corruptions, mitigations.

    What is done is kept, an interrupted analysis goes on with what it lacks; `stop` and Ctrl-C end it in order. Ends
    with the sweep's report.
    """
    from cluster.runtime.session import check_address, session
    from orchestrator.analyses.results import load_analyses, save_analyses
    from orchestrator.cli.values import check_places, open_sweep
    from orchestrator.console import line_printer, make_console
    from orchestrator.launch.analyses import AnalysesEnd, list_tasks, not_done, run_tasks, say_stopped
    from orchestrator.launch.ending.publish import publish
    from orchestrator.launch.signals import stop_on_signals
    from orchestrator.launch.storage_check import check_storage
    from orchestrator.reports.for_mlflow.picture import draw_pair
    from orchestrator.reports.terminal import print_analyses
    from orchestrator.results.pairs import pair_records
    from orchestrator.results.snapshot import EVERYTHING, Snapshot
    from orchestrator.store.provenance.facts import code_variables, sweep_facts
    from orchestrator.tracking.backend import check_kept
    from orchestrator.tracking.tracker import Tracker
    from orchestrator.workers.moved_data import check_moved_data
    from search_spaces.analyses import analysis_named, set_analyses
    from search_spaces.uris import trusted_variables

    console = make_console()
    check_address(address)
    sweep, plan = open_sweep(storage, name)
    analyses = set_analyses(load_analyses(sweep.folder), assignments)
    names = [analysis_named(each).name for each in only] or list(analyses)
    launched = sweep.launch_options()
    check_kept(None if tracking_uri else launched.tracking_uri)
    check_places(tracking_uri or launched.tracking_uri, address)
    data_dir = (data_dir or launched.data_dir).absolute()
    check_moved_data(plan, sweep.store, data_dir, line_printer(console))
    tracker = Tracker(tracking_uri or launched.tracking_uri, sweep.store, sweep.name, draw=draw_pair)
    facts = sweep_facts(plan)
    tracker.check()
    with sweep.driver():
        snapshot = Snapshot(plan, sweep.store, ahead=EVERYTHING)
        tasks = list_tasks(sweep, snapshot, [analyses[each] for each in names], console)
        save_analyses(sweep.folder, analyses)
        ended = AnalysesEnd()
        if pending := not_done(tasks, snapshot, console):
            environment = code_variables() | trusted_variables()
            with (
                stop_on_signals(sweep, line_printer(console)),
                session(address, environment=environment, again=sweep.command("analyze")) as capacity,
            ):
                if address:
                    check_storage(sweep, capacity, is_shared=shared_storage or launched.shared_storage)
                ended = run_tasks(pending, sweep, data_dir, capacity.resources, console)
        tracker.open(plan, facts)
        snapshot.refresh()
        tables = print_analyses(sweep, snapshot, pair_records(snapshot), console)
        publish(tracker, sweep, snapshot, facts, console, analyses=tables)
    if ended.num_stopped:
        say_stopped(ended.num_stopped, sweep, console)
    if ended.errors:
        console.print(f"{len(ended.errors)} of {len(tasks)} analyses failed; analyze again to go on with them.")
        sys.exit(1)
