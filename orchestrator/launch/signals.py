"""Ends a launch or analyses early and in order: nothing new starts, and what runs saves its epoch or unit and ends.

The wish is a file in the sweep's folder, which the driver and its workers look for: so it reaches them wherever they
run, from `dptq-sweep stop`, from Ctrl-C, from the SIGTERM with which spot machines announce their end, and from the
SIGHUP of a terminal that is closed.

A signal that this process was started to ignore stays ignored: so shells start the background jobs of a script, which
a Ctrl-C meant for the script must not end.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from orchestrator.store.sweep import Sweep

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals(sweep: Sweep, say: Callable[[str], None]) -> Iterator[None]:
    """Makes the first Ctrl-C, SIGTERM or SIGHUP stop the sweep in order, and the second one end the driver at once."""
    if threading.current_thread() is not threading.main_thread():
        # Python handles signals in the main thread only.
        yield
        return

    def stop(signal_number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, interrupt)
        say("stopping: running trials finish their epoch, analyses their unit, and end; once more ends them now")
        sweep.ask_to_stop()

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, stop) for each in heeded}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
