"""A worker that lacks a library stops the sweep with one line, and nothing is tried again."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.runtime import session
from orchestrator.cli.sweep.launch import command
from orchestrator.plan import build_plan
from orchestrator.store.failures import Failure, failed_import, headline_of
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from search_spaces.stages.registry import Stage

PLAN = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
TEACHER = PLAN.nodes[0]
SAID_BY_RAY = """Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor died unexpectedly before finishing this task.
	class_name: ImplicitFunc
	ip: 10.0.0.7
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
RuntimeError: The actor with name ImplicitFunc failed to import on the worker. This may be because needed libraries ...
    raise ModuleNotFoundError("No module named 'pydantic'", name="pydantic")
ModuleNotFoundError: No module named 'pydantic'
"""


def test_what_ray_says_of_a_failed_import_becomes_one_line_with_the_node_and_the_cure() -> None:
    error = failed_import(SAID_BY_RAY)
    assert error is not None
    assert str(error).startswith(
        "a worker on node 10.0.0.7 cannot import what its trial needs (No module named 'pydantic'): install there"
    )
    assert headline_of(f"{type(error).__name__}: {error}").failure is Failure.SHARED


@pytest.mark.parametrize(
    "said",
    [
        # A trial that tried an import, got over it and was killed later.
        SAID_BY_RAY.replace("failed to import on the worker", "went away"),
        "The actor is dead because its node has died.",
    ],
)
def test_other_deaths_of_workers_are_no_failed_imports(said: str) -> None:
    assert failed_import(said) is None


# timm is imported by our own code, once the worker has begun; without pydantic Ray itself cannot load the code.
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("missing", ["timm", "pydantic"])
def test_a_library_that_only_workers_lack_stops_the_sweep_at_once(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow, storage = tmp_path / "shadow", Store(str(tmp_path / "storage"))
    (shadow / missing).mkdir(parents=True)
    (shadow / missing / "__init__.py").write_text(f'raise ModuleNotFoundError("No module named {missing!r}")\n')
    root = Path(__file__).resolve().parents[3]
    places = session.WORKER_ENVIRONMENT | {"PYTHONPATH": f"{shadow}:{root}"}
    monkeypatch.setattr(session, "WORKER_ENVIRONMENT", places)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["--grid", "smoke", "--storage", storage.uri], obj=())
    assert result.exit_code == 1, result.output
    halts = [line for line in result.output.splitlines() if line.startswith("every other trial would fail like")]
    assert len(halts) == 1
    assert f"cannot import what its trial needs (No module named {missing!r}): install there the versions" in halts[0]
    folder = trial_of(storage, TEACHER)
    assert folder.state() is State.FAILED
    assert folder.attempts() == {Failure.SHARED: 1}
    assert not storage.root.folder(Stage.DISTILL).names()
