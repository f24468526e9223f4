"""Runs a sweep from the command line, for `launch` and `resume`: trials, analyses, report, and what is said of them."""

import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console

from cluster.runtime.capacity import Capacity, check_room
from cluster.runtime.nodes import Room
from cluster.runtime.resources import as_bundle, max_concurrent_trials, trial_resources
from cluster.runtime.session import session
from orchestrator.analyses.results import load_analyses
from orchestrator.console import line_printer
from orchestrator.launch.analyses import AnalysesEnd, list_tasks, not_done, run_tasks, say_stopped
from orchestrator.launch.assessments import conclude
from orchestrator.launch.audit import Agreement, compare
from orchestrator.launch.autoscaling import prescaling
from orchestrator.launch.caps import Limits, Meter, more_of
from orchestrator.launch.frontier import Frontier
from orchestrator.launch.gpu_packing import choose_gpu_shares
from orchestrator.launch.notifications import Hook, kind_of_target
from orchestrator.launch.publish import publish
from orchestrator.launch.signals import stop_on_signals
from orchestrator.launch.storage_check import check_storage
from orchestrator.launch.tuner import Launch
from orchestrator.plan import Plan
from orchestrator.progress.live import Progress
from orchestrator.progress.overview import Overview, overview_of, summary
from orchestrator.reports.for_mlflow.picture import draw_pair
from orchestrator.reports.search.tables import overview_table
from orchestrator.reports.summary import table1_text
from orchestrator.reports.table1 import table1
from orchestrator.reports.terminal import render
from orchestrator.results.cell_verdicts import cell_verdicts
from orchestrator.results.pairs import pair_records
from orchestrator.results.searches import read_searches
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.results.standing import Standing, standing_of
from orchestrator.results.trials import chance_level, mixed_code, read_trials
from orchestrator.results.verdicts import outcome_of
from orchestrator.search.journal import JOURNAL, make_journal_whole
from orchestrator.search.study import kept_objectives
from orchestrator.store.integrity import find_damage
from orchestrator.store.provenance.facts import code_variables, sweep_facts
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.tracking.tracker import Tracker
from orchestrator.workers.entry_points import images_to_decode
from orchestrator.workers.threads import lone_trials
from search_spaces.analyses import Analysis
from search_spaces.errors import StorageError, UnreachableError
from search_spaces.uris import redact, trusted_variables


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a launch ended."""

    overview: Overview
    standing: Standing
    analyses: AnalysesEnd
    agreement: Agreement
    halted: str | None
    """Why it ended before its plan did."""
    is_stopping: bool
    """Whether it was stopped."""
    cap: str | None
    """Which cap ended it, with its numbers."""


def launch_sweep(
    sweep: Sweep,
    plan: Plan,
    options: LaunchOptions,
    console: Console,
    *,
    limits: Limits,
    only: Collection[str] | None = None,
    typed_models: Collection[str] = (),
) -> Outcome:
    """Runs what is left of a sweep that this process owns.

    `typed_models` are the URIs of networks that the user typed in this command.

    Raises:
        StorageError: A finished trial is damaged; says which, and how to run it again.
    """
    snapshot = Snapshot(plan, sweep.store, ahead=EVERYTHING)
    say = line_printer(console)
    damages = find_damage(((node, snapshot.trial(node)) for node in plan.nodes), verify=limits.verify)
    for damage in damages:
        say(f"damaged {damage.node.name}: {damage.reason}")
    if damages:
        restarts = [argument for damage in damages for argument in ("--restart", damage.node.uid)]
        raise StorageError(
            f"{len(damages)} trials of sweep {sweep.name!r} are damaged, and nothing was started: train them again "
            f"with `{sweep.going_on(*restarts)}`."
        )
    shown = redact(options.tracking_uri) if options.tracking_uri else None
    kept = {"tracking_uri": shown, "caps": limits.caps, "stalled_minutes": limits.stalled_minutes}
    if limits.on_event is not None:
        kept["on_event"] = kind_of_target(limits.on_event)
    sweep.save_launch(options.model_copy(update=kept))
    analyses = list(load_analyses(sweep.folder).values()) if options.analyze else []
    target, stalled_seconds = limits.on_event, 60 * limits.stalled_minutes
    with Hook(target, sweep, say, stalled_seconds=stalled_seconds) if target else nullcontext() as hook:
        launched = Launch(
            sweep=sweep,
            snapshot=snapshot,
            data_dir=options.data_dir,
            threads=options.threads,
            gpus_per_trial=options.gpus_per_trial,
            max_retries=options.max_retries,
            only=only,
            typed_models=typed_models,
            meter=Meter(limits.caps),
            hook=hook,
            say=say,
        )
        uri, is_shared = options.tracking_uri, options.shared_storage
        try:
            return run_sweep(launched, analyses, options.address, uri, console, shared_storage=is_shared)
        except UnreachableError as error:
            raise UnreachableError(f"{error} What is finished is kept; go on with: {sweep.resume_command()}") from None


def run_sweep(
    launch: Launch,
    analyses: Sequence[Analysis],
    address: str | None,
    tracking_uri: str | None,
    console: Console,
    *,
    shared_storage: bool = False,
) -> Outcome:
    """Runs what is left of a plan and of some analyses, follows it in MLflow and writes its report."""
    sweep, snapshot, plan, store = launch.sweep, launch.snapshot, launch.plan, launch.sweep.store
    say, journal = line_printer(console), sweep.folder.local_path
    if journal and (damage := make_journal_whole(journal / JOURNAL)):
        say(damage)
    tracker = Tracker(tracking_uri, store, sweep.name, draw=draw_pair)
    tracker.check()
    facts = sweep_facts(plan)
    ended = AnalysesEnd()
    tracker.sweep_tags(standing_of(snapshot, sweep.folder, is_running=True).as_tags())
    with _no_run_left_open(tracker), launch.open_frontier(say) as frontier:
        for refusal in plan.refused:
            say(f"refused {refusal.cell}: {refusal.reason}")
        say(f"sweep {sweep.name} in {store.uri}")
        if kept := kept_objectives(frontier.studies, plan.grid.search):
            say(kept)
        say(summary(plan, frontier.states))
        if frontier.pending or analyses:
            ray_and_mlflow = _ray_and_mlflow(tracker, launch, facts, address, shared_storage)
            with stop_on_signals(sweep, say), ray_and_mlflow as capacity:
                if frontier.pending:
                    _run_trials(launch, frontier, tracker, capacity, console)
                # Launches of other sweeps may have finished trials that these share.
                snapshot.refresh()
                is_early = frontier.is_stopping or frontier.halted or launch.meter.hit
                if analyses and not is_early and pair_records(snapshot):
                    pending = not_done(list_tasks(sweep, snapshot, analyses, console), snapshot, console)
                    if pending:
                        typed = launch.typed_models
                        place, resources = launch.data_dir, capacity.resources
                        ended = run_tasks(pending, sweep, place, resources, console, typed_models=typed)
                        snapshot.refresh()
        else:
            tracker.open(plan, facts)
        if launch.meter.hit:
            # A cap is the user's wish as well, and kept like one.
            sweep.ask_to_stop()
        overview = overview_of(snapshot, has_driver=False)
        standing = publish(tracker, sweep, snapshot, facts, console)
        if launch.hook:
            launch.hook.tell_end(overview.count, launch.meter.hit)
        return Outcome(
            overview=overview,
            standing=standing,
            analyses=ended,
            agreement=compare(snapshot, frontier.studies, tracker.statuses()),
            halted=frontier.halted,
            is_stopping=frontier.is_stopping or ended.num_stopped > 0,
            cap=launch.meter.hit,
        )


def finish_sweep(sweep: Sweep, outcome: Outcome, console: Console) -> None:
    """Prints what the run found, what went wrong and what comes next.

    Exits with 1 if anything is not done, unless a user or a cap stopped the sweep, or if not all agree on what is; and
    with 3 if an assessment is done and a rule of its gate fails.
    """
    overview, errors, say = outcome.overview, outcome.analyses.errors, line_printer(console)
    console.print()
    is_assessment, gate_code = bool(overview.plan.grid.assessments), 0
    if is_assessment:
        gate_code = conclude(overview.snapshot, sweep.launch_options(), console)
    else:
        _print_pairs(overview, console)
    nodes = overview.plan.by_uid()
    for uid, headline in overview.headlines.items():
        say(f"{overview.states[uid]} {nodes[uid].name}: {headline}")
    pages = shlex.join(["dptq-sweep", "ui", "--storage", sweep.store.uri])
    commands = [] if is_assessment else [sweep.command("analyze")]
    say("next: " + "\n      ".join([*commands, sweep.command("report"), pages]))
    for line in (*outcome.agreement.disagreements, *([outcome.halted] if outcome.halted else [])):
        say(line)
    if not outcome.agreement.disagreements:
        say(outcome.agreement.line())
    say(f"sweep {sweep.name} is {outcome.standing.text}")
    num_left = overview.num_left()
    if num_left and outcome.standing.count.left:
        how = f"{outcome.cap} is hit" if outcome.cap else "stopped" if outcome.is_stopping else "not finished"
        again = sweep.going_on(*more_of(outcome.cap))
        say(f"{how}, {num_left} of {overview.count.needed} trials are not done; go on with: {again}")
    if num_failed := sum(state.is_failed for state in overview.states.values()):
        again = sweep.going_on("--failed")
        say(f"{num_failed} trials failed; those that diverged or used up their tries run again with: {again}")
    if outcome.analyses.num_stopped:
        say_stopped(outcome.analyses.num_stopped, sweep, console)
    if errors:
        say(f"{len(errors)} analyses failed; analyze again to go on with them.")
    is_meant_to_end = outcome.is_stopping or outcome.cap
    if outcome.agreement.disagreements or outcome.halted or errors or (num_left and not is_meant_to_end):
        sys.exit(1)
    if gate_code:
        sys.exit(gate_code)


def _print_pairs(overview: Overview, console: Console) -> None:
    """Prints Table 1 and what became of the searches."""
    trials = read_trials(overview.snapshot)
    table = table1(overview.plan, trials)
    console.print(render(table1_text(table, cell_verdicts(trials), chance=chance_level(trials), is_short=True)))
    if mixed := mixed_code(trials):
        line_printer(console)(mixed)
    if searches := read_searches(trials):
        console.print(render(overview_table([outcome_of(cell) for cell in searches])))


@contextmanager
def _no_run_left_open(tracker: Tracker) -> Iterator[None]:
    """Ends the runs of a launch in MLflow, whatever else ends the launch."""
    try:
        yield
    except BaseException:
        tracker.close("FAILED")
        raise


@contextmanager
def _ray_and_mlflow(
    tracker: Tracker, launch: Launch, facts: Mapping[str, str], address: str | None, shared_storage: bool
) -> Iterator[Capacity]:
    """Starts Ray and opens the tracker at the same time: each takes seconds, and neither needs the other."""
    if address:
        # Joining takes no time, and a cluster that cannot see the storage must leave nothing in MLflow.
        with session(address, environment=code_variables() | trusted_variables()) as capacity:
            check_storage(launch.sweep, capacity, is_shared=shared_storage)
            tracker.open(launch.plan, facts)
            yield capacity
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        opening = pool.submit(tracker.open, launch.plan, dict(facts))
        with session(environment=code_variables()) as capacity:
            opening.result()
            yield capacity


def _run_trials(launch: Launch, frontier: Frontier, tracker: Tracker, capacity: Capacity, console: Console) -> None:
    overview, say = overview_of(launch.snapshot, has_driver=False), line_printer(console)
    if capacity.autoscaler.unknown:
        say(f"what the cluster can grow to is unknown ({capacity.autoscaler.unknown}): only running nodes count")
    gpu_shares = choose_gpu_shares(
        frontier.candidates,
        launch.plan,
        launch.sweep.store,
        capacity.resources,
        gpus_per_trial=launch.gpus_per_trial,
        data_dir=launch.data_dir,
        say=say,
    )
    frontier.threads = dict.fromkeys(lone_trials(launch.plan), launch.threads)
    bundles = {node.name: as_bundle(trial_resources(gpu_shares[node.uid])) for node in frontier.pending}
    check_room(bundles, capacity)
    sweep, meter = launch.sweep, launch.meter
    meter.open(overview.usage, gpu_shares, outside=sweep.outside_epochs(), save=sweep.save_outside_epochs)
    num_parallel = max_concurrent_trials(capacity.resources, gpu_shares.values())
    decoding = images_to_decode(launch.plan.grid.dataset, launch.data_dir)
    console.print(f"Ray is up: {num_parallel} trials at a time", highlight=False)
    with (
        Progress(overview, console, num_parallel=num_parallel, decoding=decoding) as progress,
        prescaling(launch, frontier, gpu_shares, num_parallel, capacity) as growth,
        closing(meter),
    ):
        launch.run(frontier, gpu_shares, Room(gpu_shares.values(), capacity.autoscaler), (progress, tracker, *growth))
