"""A headless Chromium that says what a page shows once it has fetched its content; no tests in here."""

import subprocess
from pathlib import Path

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu")
PATIENCE_SECONDS = 240
LOOKS = 5
VIRTUAL_MS = 25_000
"""Time of the page's own clock, which runs while it waits for its server."""


def document_of(browser: str, url: str, profile: Path, *, width: int = 1900, height: int = 1400) -> str:
    """Returns the document of a page as it is shown in a window of so many pixels."""
    flags = [*FLAGS, f"--virtual-time-budget={VIRTUAL_MS}", f"--user-data-dir={profile}"]
    size = f"--window-size={width},{height}"
    done = subprocess.run(
        [browser, *flags, size, "--dump-dom", url], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    return done.stdout


def document_with(wanted: str, browser: str, url: str, profile: Path) -> str:
    """Returns the document of a page that fetches its content, looked at again while it lacks what it will show."""
    seen = ""
    for _ in range(LOOKS):
        seen = document_of(browser, url, profile)
        if wanted in seen:
            break
    return seen
