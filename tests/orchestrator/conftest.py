"""Small tables of every analysis, with numbers to check by hand; a browser; a sweep that nobody disturbed."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.orchestrator.tiny_analyses import contrast, tiny_analyses

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def tiny() -> dict[str, pd.DataFrame]:
    return tiny_analyses()


@pytest.fixture(scope="module")
def seeds() -> dict[str, pd.DataFrame]:
    return tiny_analyses([contrast(seed=0), contrast(seed=1), contrast(seed=2)], shift=0.01)


@pytest.fixture
def browser() -> str:
    """A Chromium, where the machine has one."""
    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser on the PATH: none of {', '.join(BROWSERS)}")
    return path


@pytest.fixture(scope="session")
def calm() -> Iterator[Path]:
    """An undisturbed run of the grid."""
    # Here, because it imports MLflow, which most tests have no need of.
    from tests.orchestrator.patients import Patient

    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    code, printed = Patient(root, {}).run()
    assert code == 0, printed
    yield root / "storage"
    shutil.rmtree(root, ignore_errors=True)
