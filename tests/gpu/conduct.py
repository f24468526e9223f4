"""The call itself: starts a process per section, ends what hangs, and publishes after every section.

A hanging kernel cannot be interrupted from within its process, so nothing that touches the GPU runs in this one. It
waits, kills whole process groups, and starts a section again behind an item that crashed or hung.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.gpu import bring, report
from tests.gpu.decisions import is_wrong
from tests.gpu.jobs import BROKEN, SECTIONS, TOTAL_SECONDS, Job, Section
from tests.gpu.record import FAILED, RUNNING, STOPPED, Outcome, Record

ROOT = Path(__file__).resolve().parents[2]
BROUGHT, WORK, RESULTS, SITE = ".gpu/bring", ".gpu/work", "gpu-results", "site"
RESERVE_SECONDS = 12.0
"""For the last report, and for processes that die slowly."""
LEAST_SECONDS = 8.0
"""Below it no section is started: it would spend them on imports."""
FIGURES_SECONDS = 25.0
"""Kept back for the figures, which come last."""
START_SECONDS = 60.0
"""For imports, before the first item begins."""
POLL_SECONDS = 0.2
KILL_SECONDS = 3.0


def main(arguments: Sequence[str]) -> int:
    """Parses the arguments, runs the sections, returns the exit status: 1 if one failed or was wrong."""
    options = parse(arguments)
    start = time.time()
    seconds = 60 * options.minutes
    # Whatever goes wrong in this process: the system ends it, and the children die with it.
    signal.alarm(int(seconds) + 10)
    record = Record(options.work)
    previous = record.take_over(options.bring / bring.PREVIOUS) + record.take_over(options.folder)
    say(f"{bring.prepare(options.bring, options.work / SITE)}; {previous} results of earlier calls")
    wanted = [section for section in SECTIONS if not options.only or section.name in options.only]
    call = f"{start:.3f}"
    run_sections(wanted, record, call=call, end=start + seconds, options=options)
    say(f"{time.time() - start:.0f} s, results in {options.folder}")
    found = [outcome for outcome in record if outcome.call == call]
    return int(any(each.status in (FAILED, STOPPED) or is_wrong(each) for each in found))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="tests/gpu/run.py", description=report.INTRODUCTION)
    parser.add_argument("--minutes", type=float, default=TOTAL_SECONDS / 60, help="end by then, whatever happens")
    parser.add_argument("--tiny", action="store_true", help="small networks and few repetitions; runs on a CPU too")
    parser.add_argument("--only", nargs="+", choices=[section.name for section in SECTIONS], help="these sections")
    parser.add_argument("--folder", type=Path, help="for the results; $OUT, or gpu-results")
    parser.add_argument("--bring", type=Path, default=ROOT / BROUGHT, help="what `make gpu-wheels` collected")
    parser.add_argument("--work", type=Path, default=ROOT / WORK, help="state that a second call goes on from")
    parser.add_argument("--limit", nargs="+", default=[], metavar="SECTION=SECONDS", help="other limits of sections")
    options = parser.parse_args(arguments)
    options.limits = {name: float(seconds) for name, _, seconds in (each.partition("=") for each in options.limit)}
    options.folder = (options.folder or Path(os.environ.get("OUT") or ROOT / RESULTS)).absolute()
    options.bring, options.work = options.bring.absolute(), options.work.absolute()
    return options


def run_sections(
    sections: Sequence[Section], record: Record, *, call: str, end: float, options: argparse.Namespace
) -> None:
    """Runs sections one after the other, and publishes after each.

    Args:
        sections: In the order of importance.
        record: Where outcomes are kept.
        call: Name of this call.
        end: When all must be over, in seconds since the epoch.
        options: Folders and sizes.
    """
    for section in sections:
        is_last = section is sections[-1]
        stop = end - RESERVE_SECONDS - (0 if is_last else FIGURES_SECONDS)
        stop = min(stop, time.time() + options.limits.get(section.name, section.seconds))
        job = Job(
            section=section,
            call=call,
            deadline=stop,
            brought=str(options.bring),
            work=str(options.work),
            folder=str(options.folder),
            is_tiny=options.tiny,
        )
        run_section(job, record)
        publish(record, options.folder)
    sys.stdout.write("\n" + report.table(list(record)) + "\n")


def run_section(job: Job, record: Record) -> None:
    """Runs one section to its end, in as many processes as it takes."""
    while job.deadline - time.time() > LEAST_SECONDS:
        say(f"{job.section.name}, at most {job.deadline - time.time():.0f} s")
        status, output = run_child(job, record)
        stopped = mark_stopped(job, record, status, output)
        if status == 0 or not (stopped or status == BROKEN):
            if status and not _of_this_call(job, record):
                record.write(_failure_at_start(job, output))
            return


def run_child(job: Job, record: Record) -> tuple[int, str]:
    """Runs one process of a section until it ends, or until an item or the section has had its time.

    Returns:
        Its exit status, and the end of what it printed.
    """
    log = Path(job.work) / "logs" / f"{job.section.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/gpu/run.py"), "--job", job.to_json()],
            cwd=ROOT,
            env=environment_of(job),
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            start = time.time()
            while process.poll() is None and not is_over(job, record, since=start):
                time.sleep(POLL_SECONDS)
        finally:
            end_group(process)
    return process.poll() or 0 if process.poll() is not None else STUCK, log.read_text(errors="replace")[-4000:]


STUCK = -1
"""Stands for the exit status of a process that does not even react to SIGKILL."""


def environment_of(job: Job) -> dict[str, str]:
    """Returns the environment of a child: one thread, no settings of the user's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DPTQ_")}
    # Unpacked once, by this process: side by side they would read what others are still writing.
    path = os.pathsep.join(filter(None, (str(Path(job.work) / SITE), os.environ.get("PYTHONPATH"))))
    own = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    own |= {"DPTQ_CACHE": str(Path(job.work) / "cache")}
    return inherited | own


def is_over(job: Job, record: Record, *, since: float) -> bool:
    """Tells whether the running item, the whole section, or a process without an item has had its time."""
    now = time.time()
    running = _running(job, record)
    if now > job.deadline + 1 or (running is None and not _of_this_call(job, record) and now > since + START_SECONDS):
        return True
    # A little more: an item that watches its own limit is about to write its result.
    return running is not None and now > running.started + running.limit + 1


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process and all that it started, and does not wait long for one that cannot die."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        say(f"process {process.pid} does not end; it is left alone")


def mark_stopped(job: Job, record: Record, status: int, output: str) -> bool:
    """Writes down the item that was running when its process ended; tells whether there was one."""
    running = _running(job, record)
    if running is None:
        return False
    took = time.time() - running.started
    why = f"ended after {took:.0f} s, limit {running.limit:.0f} s" if took >= running.limit else f"crashed ({status})"
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    record.write(replace(running, status=STOPPED, seconds=took, error=f"{why}: {last[:200]}" if last else why))
    return True


def publish(record: Record, folder: Path) -> None:
    """Writes the results for people, and what another machine would need to go on."""
    record.publish(folder)
    outcomes = list(record)
    (folder / "results.md").write_text(report.markdown(outcomes))
    for part in (record.work / "publish").glob("[!.]*"):
        shutil.copyfile(part, folder / part.name)


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _of_this_call(job: Job, record: Record) -> list[Outcome]:
    return [each for each in record if each.section == job.section.name and each.call == job.call]


def _running(job: Job, record: Record) -> Outcome | None:
    return next((each for each in _of_this_call(job, record) if each.status == RUNNING), None)


def _failure_at_start(job: Job, output: str) -> Outcome:
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
    return Outcome(
        section=job.section.name,
        item="start",
        status=FAILED,
        call=job.call,
        started=time.time(),
        error=f"the process failed before its first item: {last[:300]}",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
