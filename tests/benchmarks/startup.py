"""What `dptq-sweep` takes to answer: `python -m tests.benchmarks.startup`, about a minute.

CPU time of whole processes, user and system, as a multiple of `python -c "import click, rich.console, rich.table"`: the
least that a program with this command line can take. The median of nine runs, in turn, so that a neighbour slows all.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile

import click

from orchestrator.cli.main import dptq_sweep
from tests.benchmarks.figures import Figure, table

RUNS = 9
LEAST = [sys.executable, "-c", "import click, rich.console, rich.table"]
AT_MOST = 3.0
"""Times the least, for whatever needs only the options of commands."""
WRONG = ("lunch", "launch --no-such-option")
WORK = ("analyze -h", "plan --grid quick", "ls")
"""What imports pydantic or more: that help lists the analyses by name."""
COMPLETION = {"_DPTQ_SWEEP_COMPLETE": "bash_complete", "COMP_WORDS": "dptq-sweep status ", "COMP_CWORD": "2"}


def seconds_of(arguments: list[str], environment: dict[str, str]) -> float:
    """Returns the CPU time of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(arguments, cwd=folder, env=os.environ | environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def helps(group: click.Group, path: str = "") -> list[str]:
    """Lists the command line of every help."""
    lines = [f"{path}-h"]
    for name, command in group.commands.items():
        lines += helps(command, f"{path}{name} ") if isinstance(command, click.Group) else [f"{path}{name} -h"]
    return lines


def main() -> None:
    """Measures and prints."""
    program = [sys.executable, "-c", "from orchestrator.cli.main import main; main()"]
    runs: dict[str, tuple[list[str], dict[str, str]]] = {"least": (LEAST, {})}
    runs |= {"completion of a sweep": (program, COMPLETION)}
    lines = dict.fromkeys((*helps(dptq_sweep), *WRONG, *WORK))
    runs |= {f"dptq-sweep {line}": ([*program, *line.split()], {}) for line in lines}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, run in runs.items():
            seconds[name].append(seconds_of(*run))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    least = medians.pop("least")
    figures = [
        Figure(
            name=name,
            value=value / least,
            unit="x",
            at_most=None if name.removeprefix("dptq-sweep ") in WORK else AT_MOST,
            detail=f"{value * 1e3:.0f} ms",
        )
        for name, value in medians.items()
    ]
    click.echo(table([Figure(name="import click, rich.console, rich.table", value=least * 1e3, unit="ms"), *figures]))


if __name__ == "__main__":
    main()
