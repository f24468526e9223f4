"""Checks of sbatch scripts: the shell's own, SLURM's options, and what a Ray cluster in one job needs."""

import re
import subprocess
from collections.abc import Iterator

from cluster.files.versions import Versions
from cluster.validation.findings import Finding, did_you_mean
from cluster.validation.software import check_command, check_environment, exported

# Long names of sbatch's options that make sense in a script, some with the letter that is short for them.
_OPTIONS = """
    account:A array:a begin:b chdir:D clusters:M comment constraint:C cores-per-socket cpus-per-gpu cpus-per-task:c
    deadline dependency:d distribution:m error:e exclude:x exclusive export gpus:G gpu-bind gpu-freq gpus-per-node
    gpus-per-socket gpus-per-task gres gres-flags hint input:i job-name:J licenses:L mail-type mail-user mem
    mem-per-cpu mem-per-gpu mincpus network nice nodefile:F nodelist:w nodes:N ntasks:n ntasks-per-core
    ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output:o partition:p prefer priority profile qos:q
    reservation signal sockets-per-node switches threads-per-core time:t time-min tmp wckey
"""
_WITH_VALUE = {name: letter for name, _, letter in (word.partition(":") for word in _OPTIONS.split())}
_WITHOUT_VALUE = {"contiguous", "exclusive", "hold", "ignore-pbs", "no-requeue", "overcommit", "oversubscribe", "quiet",
                  "reboot", "requeue", "spread-job", "use-min-nodes", "verbose", "wait"}  # fmt: skip
_LETTERS = {letter: name for name, letter in _WITH_VALUE.items() if letter}
_WHOLE = {"nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "cpus-per-gpu"}
_TIME = re.compile(r"\d+(:\d\d){0,2}|\d+-\d\d?(:\d\d){0,2}|UNLIMITED|INFINITE", re.IGNORECASE)


def check_script(text: str, versions: Versions) -> list[Finding]:
    """Returns what is wrong with an sbatch script."""
    if syntax := _syntax_error(text):
        return [syntax]
    findings = [*_check_options(text), *_check_commands(text, versions)]
    if not text.startswith("#!"):
        refused = "sbatch refuses a script that does not say what runs it: begin with #!/bin/bash."
        findings.insert(0, Finding("line 1", refused))
    return findings


def _syntax_error(text: str) -> Finding | None:
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    if checked.returncode == 0:
        return None
    first = checked.stderr.strip().splitlines()[0]
    match = re.search(r"line (\d+): (.*)", first)
    return Finding(f"line {match[1]}", f"bash: {match[2]}") if match else Finding("file", first)


def _check_options(text: str) -> list[Finding]:
    findings: list[Finding] = []
    given: dict[str, str] = {}
    has_begun = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#SBATCH"):
            if has_begun:
                findings.append(Finding(f"line {number}", "#SBATCH after the first command is not read: move it up."))
                continue
            name, value = _parse(line)
            findings += _check_option(name, value, place=f"line {number}")
            given[name] = value
        elif line.strip() and not line.startswith("#"):
            has_begun = True
    # An option that was misspelt is not missing, too.
    return findings or list(_check_allocation(given))


def _parse(line: str) -> tuple[str, str]:
    """Splits `#SBATCH --name=value`, `--name value`, `-n value` or `-nvalue`; the name comes out long."""
    option = line.removeprefix("#SBATCH").split("#")[0].strip()
    if match := re.fullmatch(r"--([\w-]+)[=\s]*(.*)", option):
        return match[1], match[2]
    letter, value = option[1:2], option[2:].strip()
    return _LETTERS.get(letter, option), value


def _check_option(name: str, value: str, *, place: str) -> Iterator[Finding]:
    known = _WITH_VALUE.keys() | _WITHOUT_VALUE
    if name not in known:
        yield Finding(place, f"sbatch knows no option --{name.lstrip('-')}.{did_you_mean(name, known)}")
    elif not value and name not in _WITHOUT_VALUE:
        yield Finding(place, f"--{name} needs a value.")
    elif name in _WHOLE and not re.fullmatch(r"\d+(-\d+)?", value):
        yield Finding(place, f"--{name}={value}: a whole number belongs there.")
    elif name == "time" and not _TIME.fullmatch(value):
        yield Finding(place, f"--time={value} is no time: write minutes, hours:minutes:seconds or days-hours.")


def _check_allocation(given: dict[str, str]) -> Iterator[Finding]:
    if not any(name.startswith("gpus") or name == "gres" for name in given):
        yield Finding("#SBATCH", "asks for no GPUs: add --gpus-per-node, or trials run on CPUs.")
    if given.get("ntasks-per-node", "1" if "ntasks" not in given else "") != "1":
        yield Finding("#SBATCH", "more than one task per node would start Ray there as often: --ntasks-per-node=1.")
    if "exclusive" not in given:
        yield Finding(
            "#SBATCH", "without --exclusive, another job's Ray on the same node takes the same ports: add it."
        )


def _check_commands(text: str, versions: Versions) -> Iterator[Finding]:
    commands = {n: line for n, line in enumerate(text.splitlines(), start=1) if not line.startswith("#")}
    for number, command in commands.items():
        yield from check_command(command, versions, place=f"line {number}")
    yield from check_environment(exported(commands.values()), is_shared_path=True, place="script")
    if "ray symmetric-run" in text and "--min-nodes" not in text:
        yield Finding("script", "without --min-nodes, `ray symmetric-run` launches before the other nodes have joined.")
