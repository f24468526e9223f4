"""What is said when a launch has ended: what it found, what went wrong and what comes next; and the exit code."""

import shlex
import sys
from dataclasses import dataclass

from rich.console import Console

from orchestrator.console import line_printer
from orchestrator.launch.analyses import AnalysesEnd, say_stopped
from orchestrator.launch.caps import more_of
from orchestrator.launch.ending.assessments import conclude
from orchestrator.launch.ending.audit import Agreement
from orchestrator.progress.overview import Overview
from orchestrator.reports.search.tables import overview_table
from orchestrator.reports.summary import table1_text
from orchestrator.reports.table1 import table1
from orchestrator.reports.terminal import render
from orchestrator.results.cell_verdicts import cell_verdicts
from orchestrator.results.searches import read_searches
from orchestrator.results.standing import Standing
from orchestrator.results.trials import chance_level, mixed_code, read_trials
from orchestrator.results.verdicts import outcome_of
from orchestrator.store.sweep import Sweep


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
