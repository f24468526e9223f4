"""Launches that really ran, event by event, as files; no tests in here.

    python -m tests.orchestrator.progress.recording STORAGE SWEEP > tests/orchestrator/progress/recordings/NAME.csv

makes one of a sweep that was launched once, on a storage of this machine, and ended. A trial begins when its recipe is
written, and ends when its result, or its error, is.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.plan import Plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.trial_budget import Findings, settle
from orchestrator.store.folder import ERROR, PRUNED, RECIPE, RESULT
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.workers.entry_points import num_sites
from tests.orchestrator.progress.made_up_runs import Event

COLUMNS = ("at", "event", "trial", "epoch", "seconds")
"""`at` is in seconds since the launch handed out its first trial; `event` is started, epoch, hit, or how it ended."""


def events_of(snapshot: Snapshot) -> Iterator[tuple[float, str, str, int | str, float | str]]:
    """Returns what happened to the trials of a sweep, in any order, at times since 1970."""
    for node in snapshot.plan.nodes:
        trial, path = snapshot.trial(node), snapshot.store.trial(node.stage, node.uid).local_path
        assert path is not None
        if not (path / RECIPE).exists():
            continue
        yield (path / RECIPE).stat().st_mtime, "started", node.name, "", ""
        for row in trial.epochs():
            yield row["timestamp_ms"] / 1000, "epoch", node.name, row["epoch"], round(row["seconds"], 3)
        ends = next(path / name for name in (RESULT, PRUNED, ERROR) if (path / name).exists())
        kind = "hit" if node.uid in snapshot.findings.qualifying else str(trial.state())
        yield ends.stat().st_mtime, kind, node.name, "", ""


def read_recording(file: Path, plan: Plan) -> list[Event]:
    """Reads the events of a recorded launch of a plan, in the order of time."""
    by_name, findings = {node.name: node for node in plan.nodes}, Findings()
    states = settle(plan, dict.fromkeys(plan.by_uid(), State.WAITING), findings)
    events = []
    for row in csv.DictReader(file.read_text().splitlines()):
        node, kind = by_name[row["trial"]], row["event"]
        measured = {"epoch": int(row["epoch"]), "seconds": float(row["seconds"])} if kind == "epoch" else {}
        if kind == "started":
            findings.begun.add(node.uid)
        elif kind != "epoch":
            if kind == "hit":
                findings.qualifying.add(node.uid)
            states = settle(plan, {**states, node.uid: State.DONE if kind == "hit" else State(kind)}, findings)
        told = kind if kind in ("started", "epoch") else "ended"
        events.append(Event(float(row["at"]), told, node, measured, dict(states)))
    return events


def main(storage: str, name: str) -> None:
    """Prints the recording of a sweep."""
    store = Store(storage, create=False)
    events = sorted(events_of(Snapshot(Sweep(store, name).load_plan(num_sites), store)))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((round(at - events[0][0], 2), *others) for at, *others in events)


if __name__ == "__main__":
    main(*sys.argv[1:])
