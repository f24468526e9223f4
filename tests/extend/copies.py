"""A copy of the four packages that a test may extend as docs tell a developer to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("orchestrator", "trainables", "search_spaces", "cluster")


def copy_packages(target: Path) -> Path:
    """Copies the sources without what Python and numba compiled of them; returns the folder."""
    for package in PACKAGES:
        compiled = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, target / package, ignore=compiled)
    return target


def edit(path: Path, before: str, after: str) -> None:
    """Replaces a text that a file holds once."""
    text = path.read_text()
    assert text.count(before) == 1, f"{path} holds {before!r} {text.count(before)} times"
    path.write_text(text.replace(before, after))


def run_python(root: Path, *arguments: str) -> str:
    """Runs Python on the copy and returns what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dptq_sweep(root: Path, *arguments: str) -> str:
    """Runs `dptq-sweep` of the copy and returns what it printed."""
    return run_python(root, "-c", "from orchestrator.cli.main import main; main()", *arguments)
