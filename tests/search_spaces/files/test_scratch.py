"""Scratch folders go away with their block, or at the next start of anyone where their process was killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search_spaces.files import scratch

CODE = "from search_spaces.files.scratch import scratch_folder as s\nwith s() as f: print(f, flush=True); input()"


@contextmanager
def process(temporary: Path) -> Iterator["tuple[subprocess.Popen[str], Path]"]:
    """A process in its block, with its folder."""
    root = str(Path(scratch.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={"TMPDIR": str(temporary), "PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        yield started, Path(started.stdout.readline().strip())
        started.kill()


def test_folders_of_killed_processes_are_removed_and_those_of_living_ones_and_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / f"{scratch.PREFIX}0" / "matplotlib").mkdir(parents=True)
    with process(tmp_path) as (killed, left), process(tmp_path) as (_, living):
        (left / "file").write_bytes(b"x")
        killed.kill()
        killed.wait()
        assert (left / "file").exists()
        with process(tmp_path) as (orderly, folder):
            assert folder.is_dir()
            assert living.is_dir()
            assert not left.parent.exists()
            orderly.communicate("\n")
            assert not folder.parent.exists()
        assert living.is_dir()
    assert (tmp_path / f"{scratch.PREFIX}0" / "matplotlib").is_dir()
