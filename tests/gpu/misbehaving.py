"""A section that does what sections must be able to do without taking the others along; see `test_run`."""

import os
import signal
import subprocess
import time
from typing import Any

from tests.gpu.jobs import Context, Item, UnfinishedError

ENDLESS = "endless"


def items(context: Context) -> list[Item]:
    """Lists what goes well between what does not; hangs itself if it finds a file of that name."""
    if (context.work / ENDLESS).exists():
        time.sleep(1000)
    return [
        Item("first", _note),
        Item("raises", _raise),
        Item("second", _note),
        Item("crashes", _crash),
        Item("third", _note),
        Item("hangs", _hang, seconds=1.5),
        Item("fourth", _note),
        Item("needs more time", _need_more),
    ]


def _note(context: Context) -> dict[str, Any]:
    return {"process": os.getpid()}


def _raise(context: Context) -> dict[str, Any]:
    raise ValueError("on purpose\nand more of it")


def _crash(context: Context) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("not reached")


def _hang(context: Context) -> dict[str, Any]:
    """Starts a process that would outlive this one, and ignores what asks it to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeper = subprocess.Popen(["sleep", "1000"])
    (context.work / "pids").write_text(f"{os.getpid()} {sleeper.pid}")
    time.sleep(1000)
    raise AssertionError("not reached")


def _need_more(context: Context) -> dict[str, Any]:
    """Takes two calls."""
    marker = context.work / "begun"
    if not marker.exists():
        marker.touch()
        raise UnfinishedError({"share": 0.5})
    return {"share": 1.0}
