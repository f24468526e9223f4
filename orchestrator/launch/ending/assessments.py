"""The end of an assessment: what it found on the terminal, the files that other tools read, and the exit code."""

import json
from pathlib import Path

from rich.console import Console

from orchestrator.console import line_printer, written
from orchestrator.reports.assessment.companions import companion_sentences
from orchestrator.reports.assessment.quantized_file import file_sentences
from orchestrator.reports.assessment.runtime import runtime_sentences, runtime_table
from orchestrator.reports.assessment.tables import (
    gate_table,
    missing_line,
    mitigations_table,
    other_reasons,
    rungs_table,
    verdict_line,
)
from orchestrator.reports.page import write_report
from orchestrator.reports.terminal import render
from orchestrator.results.assessments import Found, read_assessments
from orchestrator.results.gate import GATE_FAILED, junit_xml
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.provenance.facts import sweep_facts
from orchestrator.store.sweep import LaunchOptions, Sweep
from search_spaces.errors import ConfigError, one_line


def check_writable(path: Path | None, option: str) -> None:
    """Makes sure that a file can be written at the end, before anything runs.

    Raises:
        ConfigError: Its folder is missing, or it is a folder itself.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"{option} {path} cannot be written: name a file in a folder that exists.")


def conclude(snapshot: Snapshot, options: LaunchOptions, console: Console) -> int:
    """Prints what was found and writes --json and --junit.

    Returns:
        The exit code of the gate: 3 where a rule fails, else 0.

    Raises:
        ConfigError: A file cannot be written.
    """
    code = 0
    for found in read_assessments(snapshot, options.fail_if):
        print_found(found, console)
        if found.is_complete:
            write_file(options.json_file, "--json", found.assessment.as_json().encode())
            write_file(options.junit_file, "--junit", junit_xml(found.assessment))
            if any(each.outcome == "fail" for each in found.assessment.gate):
                code = GATE_FAILED
    return code


def print_found(found: Found, console: Console) -> None:
    """Prints the ladder, what repairs the network, the verdict and the gate of an assessment."""
    console.print(render(rungs_table(found.assessment)))
    if found.assessment.mitigations:
        console.print(render(mitigations_table(found.assessment)))
    say = line_printer(console)
    if missing := missing_line(found.assessment):
        say(missing)
    say(verdict_line(found))
    for reason in other_reasons(found):
        say(f"  * {reason}")
    for sentence in (*companion_sentences(found), *file_sentences(found)):
        say(sentence)
    if (runtime := runtime_table(found.assessment)).rows:
        console.print(render(runtime))
    for sentence in runtime_sentences(found.assessment):
        say(sentence)
    if found.assessment.gate:
        console.print(render(gate_table(found.assessment)))


def report_assessments(sweep: Sweep, snapshot: Snapshot, console: Console, *, as_json: bool) -> None:
    """Prints what a sweep found by now, as tables or as JSON; with tables it writes the report as well."""
    assessments = read_assessments(snapshot, sweep.launch_options().fail_if)
    if as_json:
        found = [each.assessment.model_dump(mode="json") for each in assessments if each.is_complete]
        console.out(json.dumps({"assessments": found}, indent=2), highlight=False)
        return
    for each in assessments:
        print_found(each, console)
    line_printer(console)(written(write_report(snapshot, sweep.name, facts=sweep_facts(snapshot.plan))))


def write_file(path: Path | None, option: str, content: bytes) -> None:
    """Writes a file that an option named; nothing where it was not given.

    Raises:
        ConfigError: It cannot be written.
    """
    if path is None:
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be written: {one_line(error)}.") from error
