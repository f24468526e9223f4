"""A process with its own copy of the repository, where it changes a module and runs tests against it."""

import gc
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator

from tests.mutants.rooms import ROOT, tracked
from tests.mutants.sample import Mutant

# Imported once: a test run then begins in a fork within a tenth of a second, and not after five seconds. No module of
# ours is among them, and none of these starts a thread when imported.
_PRELOADED = (
    "pytest doctest pdb pytest_timeout hypothesis numpy torch torchvision timm pyarrow.parquet pyarrow.fs pydantic "
    "yaml numba pandas scipy.stats safetensors.torch sklearn.datasets optuna sqlalchemy matplotlib.figure click "
    "rich.console jinja2 filelock"
).split()
_NO_REWRITING = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # of plugins that are imported before
LEFT_OUT = "not ray and not slow and not gpu and not browser and not cluster and not chaos"
_OPTIONS = (
    *("-x", "-q", "--no-header", "--tb=short", "-m", LEFT_OUT, *_NO_REWRITING),
    *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:anyio"),
)
_OLD = 1_500_000_000
"""Seconds since 1970, the time of every file: a mutant is never as old as the byte code of what it replaces."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of tests said.

    Attributes:
        code: Pytest's exit status; None at the limit by the clock, negative for a signal.
        by: The test that failed, "" if none did.
        seconds: Wall time.
        processor: Processor seconds, with those of processes that the tests started.
        tail: The last lines of what pytest printed.
    """

    code: int | None
    by: str
    seconds: float
    processor: float
    tail: str

    @property
    def is_late(self) -> bool:
        """Whether it was ended at its limit."""
        return self.code in (None, -signal.SIGXCPU)

    @property
    def has_noticed(self) -> bool:
        """Whether a test failed, did not end, or could not be collected."""
        return self.code not in (0, NOTHING_RAN)


NOTHING_RAN = 5
Usual = dict[str, float]
"""What a test file takes on unchanged code: seconds by the `wall` clock and of the `processor`."""


def start(copies: str) -> None:
    """Makes this process a worker: copies the repository and goes there."""
    folder = Path(tempfile.mkdtemp(dir=copies))
    for path in tracked():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
        os.utime(folder / path, (_OLD, _OLD))
    os.chdir(folder)
    os.environ |= {
        "PYTHONPATH": str(folder),
        "NUMBA_CACHE_DIR": str(folder / ".numba"),
        "OMP_NUM_THREADS": "1",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / ".hypothesis"),
    }
    sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # pytest collects garbage ten times a run, which would look at all of torch again


def run_unchanged(test: str, limit: Usual) -> Outcome:
    """Runs one test file against the code as it is, and keeps the byte code."""
    return _run([test], limit)


def run_mutant(mutant: Mutant, tests: list[str], limit: Usual) -> Outcome:
    """Runs tests against a mutant until one of them fails."""
    if not tests:
        return Outcome(NOTHING_RAN, by="", seconds=0.0, processor=0.0, tail="")
    module = Path(mutant.module)
    environment = dict(os.environ) | {"PYTHONDONTWRITEBYTECODE": "1"}
    if "numba" in module.read_text():
        environment["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(dir=".")  # a kernel that was compiled before hides a mutant
    try:
        with use_mutation(module, get_operator(mutant.operator)(), mutant.occurrence):
            return _run(tests, limit, environment)
    finally:
        os.utime(module, (_OLD, _OLD))


def _run(tests: list[str], limit: Usual, environment: dict[str, str] | None = None) -> Outcome:
    """Runs pytest in a fork with a session of its own, and ends all of it at the limit."""
    log = Path("pytest.log")
    before, began = os.times(), time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()
        os.environ |= environment or {}
        sys.dont_write_bytecode = bool(environment)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit["processor"]), resource.RLIM_INFINITY))
        _into(log)
        import pytest

        code: int = 3
        try:
            code = int(pytest.main([*_OPTIONS, *tests]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(code)
    status: int | None = None
    while time.monotonic() - began < limit["wall"]:
        ended, found = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(found)
            break
        time.sleep(0.02)
    _end_session(child, has_ended=status is not None)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    printed = log.read_text(errors="replace").splitlines()
    failed = [line.split()[1] for line in printed if line.startswith(("FAILED ", "ERROR "))]
    by = failed[0] if failed else ""
    return Outcome(status, by, time.monotonic() - began, processor, "\n".join(printed[-30:]))


def _into(log: Path) -> None:
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)


def _end_session(leader: int, *, has_ended: bool) -> None:
    """Ends what a run of tests left behind, and the run itself where it is late."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if not has_ended:
        os.waitpid(leader, 0)
