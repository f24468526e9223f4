"""What `dptq-sweep ui` opens: its server while a test looks at it, and the addresses it prints; no tests in here."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import free_port
from tests.waiting import wait_until

START_SECONDS = 240
_PAGE = re.compile(r"^\w[\w-]*, (?P<what>[\w ]+): (?P<page>http\S+)$", re.MULTILINE)


@contextmanager
def opened(storage: Path, *arguments: str) -> Iterator[dict[str, str]]:
    """Runs `ui` on a storage until the block ends; gives the addresses that it prints, by what they show."""
    code = "from orchestrator.cli.main import main; main()"
    line = [sys.executable, "-c", code, "ui", *arguments, "--storage", str(storage), "--port", str(free_port())]
    log = storage.parent / "ui.log"
    with log.open("w") as out:
        command = subprocess.Popen(
            [*line, "--no-browser"], stdout=out, stderr=out, env=os.environ | {"HOME": str(storage.parent)}
        )
    try:
        wanted = 2 if "--compare" in arguments else 1
        wait_until(
            lambda: len(pages(log)) == wanted, log.read_text, process=command, seconds=START_SECONDS, pause_seconds=0.5
        )
        yield pages(log)
    finally:
        command.send_signal(signal.SIGINT)
        assert command.wait(60) == 0, log.read_text()


def pages(log: Path) -> dict[str, str]:
    return {found["what"]: found["page"] for found in _PAGE.finditer(log.read_text())}
