"""What tests of the tracker share."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.plan import Plan, build_plan
from search_spaces.grids.build import Choices, build_grid

SEARCH = {"keep_searching": True, "start_points": ("recipe",)}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to create; tests use copies."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(build_grid("digits", Choices(search=SEARCH), lambda architecture: 15), lambda architecture: 15)
