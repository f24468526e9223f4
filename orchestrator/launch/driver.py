"""Runs a sweep from the command line, for `launch` and `resume`: trials, analyses, report, and what is said of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext

from rich.console import Console

from cluster.runtime.capacity import Capacity, check_room
from cluster.runtime.nodes import Room
from cluster.runtime.resources import as_bundle, max_concurrent_trials, trial_resources
from cluster.runtime.session import session
from orchestrator.analyses.results import load_analyses
from orchestrator.console import line_printer
from orchestrator.launch.analyses import AnalysesEnd, list_tasks, not_done, run_tasks
from orchestrator.launch.autoscaling import prescaling
from orchestrator.launch.caps import Limits, Meter
from orchestrator.launch.ending.audit import compare
from orchestrator.launch.ending.finish import Outcome
from orchestrator.launch.ending.publish import publish
from orchestrator.launch.frontier import Frontier
from orchestrator.launch.gpu_packing import choose_gpu_shares
from orchestrator.launch.notifications import Hook, kind_of_target
from orchestrator.launch.signals import stop_on_signals
from orchestrator.launch.storage_check import check_storage
from orchestrator.launch.tuner import Launch
from orchestrator.plan import Plan
from orchestrator.progress.live import Progress
from orchestrator.progress.overview import overview_of, summary
from orchestrator.reports.for_mlflow.picture import draw_pair
from orchestrator.results.pairs import pair_records
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.results.standing import standing_of
from orchestrator.search.journal import JOURNAL, make_journal_whole
from orchestrator.search.study import kept_objectives
from orchestrator.store.integrity import find_damage
from orchestrator.store.places.index import Index
from orchestrator.store.provenance.facts import code_variables, sweep_facts
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.tracking.tracker import Tracker
from orchestrator.workers.entry_points import images_to_decode
from orchestrator.workers.threads import lone_trials
from search_spaces.analyses import Analysis
from search_spaces.errors import StorageError, UnreachableError
from search_spaces.uris import redact, trusted_variables


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
    snapshot = Snapshot(plan, sweep.store, ahead=EVERYTHING, index=Index(sweep.folder, is_trusted=not limits.verify))
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
    event = {} if limits.on_event is None else {"on_event": kind_of_target(limits.on_event)}
    kept = {"tracking_uri": shown, "caps": limits.caps, "stalled_minutes": limits.stalled_minutes, **event}
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
        snapshot.save_index()
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
    again = launch.sweep.going_on()
    if address:
        # Joining takes no time, and a cluster that cannot see the storage must leave nothing in MLflow.
        with session(address, environment=code_variables() | trusted_variables(), again=again) as capacity:
            check_storage(launch.sweep, capacity, is_shared=shared_storage)
            tracker.open(launch.plan, facts)
            yield capacity
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        opening = pool.submit(tracker.open, launch.plan, dict(facts))
        with session(environment=code_variables(), again=again) as capacity:
            opening.result()
            yield capacity


def _run_trials(launch: Launch, frontier: Frontier, tracker: Tracker, capacity: Capacity, console: Console) -> None:
    overview = overview_of(launch.snapshot, has_driver=False)
    sweep, plan, meter, say = launch.sweep, launch.plan, launch.meter, line_printer(console)
    if capacity.autoscaler.unknown:
        say(f"what the cluster can grow to is unknown ({capacity.autoscaler.unknown}): only running nodes count")
    gpu_shares = choose_gpu_shares(
        frontier.candidates,
        plan,
        sweep.store,
        capacity.resources,
        gpus_per_trial=launch.gpus_per_trial,
        data_dir=launch.data_dir,
        say=say,
    )
    frontier.threads = dict.fromkeys(lone_trials(plan), launch.threads)
    bundles = {node.name: as_bundle(trial_resources(gpu_shares[node.uid])) for node in frontier.pending}
    check_room(bundles, capacity)
    meter.open(overview.usage, gpu_shares, outside=sweep.outside_epochs(), save=sweep.save_outside_epochs)
    num_parallel = max_concurrent_trials(capacity.resources, gpu_shares.values())
    decoding = images_to_decode(plan.grid.dataset, launch.data_dir) if launch.data_dir else None
    console.print(f"Ray is up: {num_parallel} trials at a time", highlight=False)
    with (
        Progress(overview, console, num_parallel=num_parallel, decoding=decoding) as progress,
        prescaling(launch, frontier, gpu_shares, num_parallel, capacity) as growth,
        closing(meter),
    ):
        room = Room(gpu_shares.values(), capacity.autoscaler)
        launch.run(frontier, gpu_shares, room, (progress, tracker, *growth))
