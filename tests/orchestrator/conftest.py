"""Small tables of every analysis, with numbers to check by hand."""

import pandas as pd
import pytest

from tests.orchestrator.tiny_analyses import contrast, tiny_analyses


@pytest.fixture(scope="module")
def tiny() -> dict[str, pd.DataFrame]:
    return tiny_analyses()


@pytest.fixture(scope="module")
def seeds() -> dict[str, pd.DataFrame]:
    return tiny_analyses([contrast(seed=0), contrast(seed=1), contrast(seed=2)], shift=0.01)
