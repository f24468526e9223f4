"""What `status` shows of a sweep, once or again and again; read from the store alone, with or without a driver."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.analyses.results import tasks_of_sweep
from orchestrator.console import make_table
from orchestrator.plan import Plan
from orchestrator.progress.live import render_overview, summary_line
from orchestrator.progress.overview import BestPair, Overview, overview_of
from orchestrator.progress.pace import TimeLeft
from orchestrator.results.cell_verdicts import CellVerdict, cell_verdicts
from orchestrator.results.pairs import records_of
from orchestrator.results.searches import read_searches
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import Standing, standing_of
from orchestrator.results.trials import Trial, read_trials
from orchestrator.results.verdicts import Outcome, outcome_facts, outcome_of
from orchestrator.store.folder import EPOCHS, LEASE, RESULT
from orchestrator.store.leases.trials import Lease
from orchestrator.store.places.index import Index
from orchestrator.store.states import State
from orchestrator.store.sweep import Sweep
from orchestrator.store.usage import Usage

REFRESH_SECONDS = 3.0
MAX_CELLS = 20
"""Cells that a terminal shows; --json has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A sweep at one moment."""

    sweep: Sweep
    overview: Overview
    usage: Usage
    """What the sweep took so far, in epochs and outside of them."""
    has_driver: bool
    standing: Standing
    analyses: tuple[int, int]
    """How many are done, and how many there are in all; 0 of 0 while none was begun."""
    elsewhere: Mapping[str, Lease]
    """Trials that another sweep of the storage works on, and which one, by uid; a launch waits for them."""
    verdicts: tuple[CellVerdict, ...] = ()
    """On every detrimental cell that has a pair."""
    searches: tuple[Outcome, ...] = ()
    """What became of the search in every searched cell."""
    price_per_hour: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether no process works on the sweep any more."""
        return not self.has_driver and not self.overview.epochs


def read_status(sweep: Sweep, plan: Plan, *, price_per_hour: float | None = None) -> Status:
    """Reads how far a sweep is."""
    has_driver = sweep.has_driver()
    snapshot = Snapshot(plan, sweep.store, ahead=(RESULT, EPOCHS), index=Index(sweep.folder))
    trials, overview = read_trials(snapshot, points=False), overview_of(snapshot, has_driver=has_driver)
    return Status(
        sweep=sweep,
        overview=overview,
        usage=overview.usage.plus(sweep.outside_epochs()),
        has_driver=has_driver,
        standing=standing_of(snapshot, sweep.folder, is_running=has_driver),
        analyses=_count_analyses(sweep, snapshot, trials),
        elsewhere=_elsewhere(sweep, snapshot),
        verdicts=cell_verdicts(trials),
        searches=tuple(outcome_of(cell) for cell in read_searches(trials)),
        price_per_hour=price_per_hour,
    )


def watch(read: Callable[[], Status], console: Console, *, refresh_seconds: float = REFRESH_SECONDS) -> Status:
    """Shows a status until the sweep is over: live on a terminal, a line per change anywhere else.

    Returns:
        The last status.
    """
    status, shown = read(), ""
    with Live(
        console=console, get_renderable=lambda: render_status(status), auto_refresh=False, transient=True
    ) as live:
        while not status.is_over:
            line = summary_line(status.overview, max(1, len(status.overview.epochs)))
            if console.is_terminal:
                live.refresh()
            elif line != shown:
                console.print(line, highlight=False, soft_wrap=True)
                shown = line
            time.sleep(refresh_seconds)
            status = read()
    return status


def render_status(status: Status) -> RenderableType:
    """Draws a status: counts, running trials, hours, the best pair of every cell, failures and what to do next."""
    sweep, overview = status.sweep, status.overview
    parts: list[RenderableType] = [
        _line(f"sweep {sweep.name} in {sweep.store.uri}: {status.standing.state}"),
        render_overview(overview, max(1, len(overview.epochs))),
        _line(usage_line(status)),
    ]
    done, total = status.analyses
    parts += [_line(f"{done}/{total} analyses done")] if total else []
    parts += [_best_table(overview, status.verdicts)] if overview.best_by_cell else []
    nodes = overview.plan.by_uid()
    parts += [_line(f"{nodes[uid].name}: {lease} trains it") for uid, lease in status.elsewhere.items()]
    for uid, headline in overview.headlines.items():
        parts.append(_line(f"{overview.states[uid]} {nodes[uid].name}: {headline}"))
        parts.append(_line(f"  {sweep.resume_command('--failed', '--only', uid)}"))
    if not status.has_driver and overview.num_left():
        # A launch alone runs what failed again only where tries are left.
        arguments = () if overview.count.left else ("--failed",)
        parts.append(_line(f"finish it with: {sweep.resume_command(*arguments)}"))
    return Group(*parts)


def usage_line(status: Status) -> str:
    """Returns the device-hours so far, and what they cost where a price is known."""
    usage = status.usage
    text = f"{usage.cpu_hours:.2f} CPU-hours, {usage.gpu_hours:.2f} GPU-hours so far"
    if status.price_per_hour is None:
        return text
    return f"{text}, {usage.paid_hours * status.price_per_hour:.2f} at {status.price_per_hour:g} per hour"


def status_as_json(status: Status) -> dict[str, Any]:
    """Returns a status as plain values; accuracies are fractions, times are seconds."""
    overview, nodes, usage = status.overview, status.overview.plan.by_uid(), status.usage
    done, total = status.analyses
    return {
        "sweep": status.sweep.name,
        **status.standing.as_json(),
        "has_driver": status.has_driver,
        "counts": {str(stage): {str(k): v for k, v in c.items()} for stage, c in overview.counts().items()},
        "running": [
            {
                "uid": uid,
                "name": nodes[uid].name,
                "epoch": epoch,
                "num_epochs": nodes[uid].recipe.epochs,
                "measured": {name: value for name, value in overview.latest.get(uid, {}).items() if "/" in name},
                **_left_as_json(overview.trial_time_left(uid)),
            }
            for uid, epoch in overview.epochs.items()
        ],
        "elsewhere": [
            {"uid": uid, "name": nodes[uid].name, "sweep": lease.sweep} for uid, lease in status.elsewhere.items()
        ],
        **_left_as_json(overview.time_left(max(1, len(overview.epochs))) if overview.count.left else None),
        "cpu_hours": usage.cpu_hours,
        "gpu_hours": usage.gpu_hours,
        "cost": None if status.price_per_hour is None else usage.paid_hours * status.price_per_hour,
        "best": _pair_as_json(overview.best) if overview.best else None,
        "best_by_cell": {cell: _pair_as_json(pair) for cell, pair in overview.best_by_cell.items()},
        "cells": [verdict.as_json() for verdict in status.verdicts],
        "failures": [
            {
                "uid": uid,
                "name": nodes[uid].name,
                "state": str(overview.states[uid]),
                "error": headline,
                "resume": status.sweep.resume_command("--failed", "--only", uid),
            }
            for uid, headline in overview.headlines.items()
        ],
        "analyses": {"done": done, "total": total},
        "searches": [outcome_facts(outcome) for outcome in status.searches],
    }


def _left_as_json(left: TimeLeft | None) -> dict[str, float | None]:
    """Returns the ends of the time left, in seconds; None where nothing is known, or left."""
    return {"eta_seconds_low": left.low if left else None, "eta_seconds_high": left.high if left else None}


def _pair_as_json(pair: BestPair) -> dict[str, Any]:
    return {"name": pair.name, "validation_drop": pair.drop, "validation_parity_gap": pair.parity_gap}


def _count_analyses(sweep: Sweep, snapshot: Snapshot, trials: Sequence[Trial]) -> tuple[int, int]:
    tasks = tasks_of_sweep(records_of(trials), snapshot, sweep.folder)
    done = sum(snapshot.analysis(task.uid).state() is State.DONE for task in tasks)
    return done, len(tasks)


def _elsewhere(sweep: Sweep, snapshot: Snapshot) -> dict[str, Lease]:
    leases = sweep.leases()
    open_nodes = [node for node in snapshot.plan.nodes if snapshot.states[node.uid].is_open]
    folders = {node.uid: snapshot.trial(node).folder for node in open_nodes}
    found = {uid: leases.holder(folder) for uid, folder in folders.items() if folder.exists(LEASE)}
    return {uid: lease for uid, lease in found.items() if lease}


def _best_table(overview: Overview, verdicts: Sequence[CellVerdict]) -> RenderableType:
    headings = ("best pair per cell, validation", "drop", "parity gap", "verdict on the cell, test")
    table, by_cell = make_table(*headings, right=headings[1:3]), {each.cell_id: each for each in verdicts}
    shown = list(overview.best_by_cell.items())[:MAX_CELLS]
    for cell_id, pair in shown:
        verdict = f"{by_cell[cell_id].text} {by_cell[cell_id].evidence}".strip() if cell_id in by_cell else ""
        gap = f"{100 * pair.parity_gap:+.1f} pp"
        table.add_row(pair.name.removeprefix("pair/"), pair.drop_text, gap, verdict)
    more = len(overview.best_by_cell) - len(shown)
    return Group(table, _line(f"and {more} cells more: --json lists them")) if more else table


def _line(text: str) -> Text:
    return Text(text, overflow="ignore", no_wrap=True)
