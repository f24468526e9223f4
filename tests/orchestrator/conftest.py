"""Small tables of every analysis, with numbers to check by hand; a browser."""

import shutil

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
