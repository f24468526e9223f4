"""The end of a verification: its table on the terminal, the file that other tools read, and its place in the storage.

What was found of a trial lies beside the trial, and stands in the report and in MLflow of every sweep that has it.
"""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.console import line_printer
from orchestrator.launch.ending.assessments import write_file
from orchestrator.launch.ending.publish import publish
from orchestrator.reports.for_mlflow.picture import draw_pair
from orchestrator.reports.terminal import render
from orchestrator.reports.verification import runs_table
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.store.inventory import find_trial, sweeps_of
from orchestrator.store.provenance.facts import sweep_facts
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.verification import write_verification
from orchestrator.tracking.tracker import Tracker
from orchestrator.workers.entry_points import num_sites
from search_spaces.errors import SweepError
from search_spaces.uris import check_host
from trainables.deployment.record import Verification

TRIAL = "trial:"


def conclude(found: Verification, facts: dict[str, Any], console: Console, json_file: Path | None) -> None:
    """Prints what was found and writes --json.

    Args:
        found: What simulation and runtime answered.
        facts: What they ran.
        console: Where to print.
        json_file: None writes none.

    Raises:
        ConfigError: The file cannot be written.
    """
    say = line_printer(console)
    console.print(render(runs_table(found, str(facts["architecture"]))))
    say(found.reason)
    if found.culprits:
        say(f"With these nodes at full precision it is right in {found.culprits.accuracy:.1%} of the images:")
        layers = {each.node: each.layer for each in found.culprits.reverted}
        for node in found.culprits.nodes:
            say(f"  {node} (layer {layers[node]})" if layers[node] else f"  {node}")
    if found.torchao_note:
        say(found.torchao_note)
    say(f"Run on {found.processor}.")
    content = json.dumps(found.as_json() | {"of": facts}, indent=2)
    write_file(json_file, "--json", content.encode())


def keep(found: Verification, facts: dict[str, Any], storage: str, console: Console) -> None:
    """Keeps what was found of a trial of the storage, and brings its sweeps' reports and MLflow up to date.

    What was found of another network is kept nowhere.

    Raises:
        StorageError: The storage cannot be written.
    """
    source = str(facts["source"])
    if not source.startswith(TRIAL):
        return
    store, say = Store(storage, create=False), line_printer(console)
    trial = find_trial(store, source.removeprefix(TRIAL))
    write_verification(trial, found.as_json() | {"of": facts})
    say(f"kept with trial {trial.uid}")
    for sweep in sweeps_of(store):
        try:
            if trial.uid in (sweep.read_plan() or {"uids": ()})["uids"]:
                _publish(sweep, console)
        # One sweep that cannot be told leaves the others.
        except SweepError as error:
            say(f"sweep {sweep.name} does not have it yet: {error}")


def _publish(sweep: Sweep, console: Console) -> None:
    """Brings the report and MLflow of a sweep up to date; a launch that runs does so in its end."""
    if sweep.has_driver():
        line_printer(console)(f"sweep {sweep.name} runs: it has it when its launch ends.")
        return
    plan = sweep.load_plan(num_sites)
    facts = sweep_facts(plan)
    with sweep.driver():
        tracking_uri = sweep.launch_options().tracking_uri
        if tracking_uri:
            check_host(tracking_uri, what="MLflow of the sweep", option="DPTQ_TRACKING_URI")
        tracker = Tracker(tracking_uri, sweep.store, sweep.name, draw=draw_pair)
        tracker.open(plan, facts)
        publish(tracker, sweep, Snapshot(plan, sweep.store, ahead=EVERYTHING), facts, console)
