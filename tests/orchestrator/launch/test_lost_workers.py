"""However Ray tells that a worker is lost, its trial fails with a class and one line, and is tried again."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import exceptions as said
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask

from cluster.runtime.ray_internals import lost_workers_fail_their_trials
from orchestrator.launch.frontier import Frontier
from orchestrator.launch.tuner import Pruning
from orchestrator.plan import build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.failures import Failure
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid

SMOKE = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
TEACHER = SMOKE.nodes[0]
Fails = Callable[[TrackedActor, Exception], object]
LOW = "Task was killed due to the node running low on memory.\nMemory on the node (IP: 10.0.0.7) was 15.2GB / 16.0GB"
# what Ray raises for a trial, and what its error says of it
LOST: list[tuple[Exception, str]] = [
    (said.OutOfMemoryError(LOW), " (OutOfMemoryError: Task was killed due to the node running low on memory. Memory"),
    (said.OutOfMemoryError("x" * 5000), " (OutOfMemoryError: xxx"),
    (said.WorkerCrashedError(), " (WorkerCrashedError: The worker died unexpectedly"),
    (said.NodeDiedError("The node 10.0.0.7 died."), " (NodeDiedError: The node 10.0.0.7 died."),
    (said.OutOfDiskError("Local disk is full"), " (OutOfDiskError: Local disk is full"),
    (said.ObjectLostError("ab" * 28, None, "main.py:1"), " (ObjectLostError: "),
    (said.OwnerDiedError("ab" * 28, None, "main.py:1"), " (OwnerDiedError: "),
    (said.RaySystemError("not enough threads"), " (RaySystemError: System error: not enough threads"),
    (said.ActorDiedError(), ""),
    (said.ActorUnavailableError("temporarily unavailable", None), ""),
]


@pytest.mark.parametrize(("error", "reason"), LOST)
def test_a_lost_worker_fails_its_trial_which_is_tried_again(
    store: Store, tmp_path: Path, error: Exception, reason: str
) -> None:
    frontier = Frontier(Snapshot(SMOKE, store), {}, data_dir=None, stop_file="stop")
    config = frontier.suggest("0")
    assert isinstance(config, dict)
    assert config["uid"] == TEACHER.uid
    heard: list[Exception] = []

    def fails(actor: TrackedActor, error: Exception) -> None:
        """Does what Tune does, which gives the place of a trial to the next one for this kind of error only."""
        assert isinstance(error, said.RayActorError)
        (tmp_path / "error.txt").write_text(f"Failure # 1 (occurred at 2026-01-01_00-00-00)\n{error}\n")
        trial = SimpleNamespace(trial_id="0", error_file=str(tmp_path / "error.txt"))
        Pruning(frontier).on_trial_error(None, trial)
        frontier.on_trial_complete("0", error=True)

    with lost_workers_fail_their_trials():
        told(error, actor_fails=fails, task_fails=lambda actor, error: heard.append(error))
    assert len(heard) == 1
    folder = trial_of(store, TEACHER)
    lines = (folder.error() or "").splitlines()
    assert lines[0].startswith(f"LostWorkerError: its worker process or its node was lost{reason}")
    assert lines[0].endswith(")" if reason else "lost")
    assert len(lines[0]) < 400
    assert folder.attempts() == {Failure.LOST: 1}
    again = frontier.suggest("1")
    assert isinstance(again, dict)
    assert again["uid"] == TEACHER.uid


def told(error: Exception, *, actor_fails: Fails, task_fails: Fails) -> None:
    """Tells Tune's manager of workers of an error that Ray raised for what a worker does."""
    actor = TrackedActor(0, on_start=None, on_stop=None, on_error=actor_fails)
    manager = RayActorManager(resource_manager=SimpleNamespace(free_resources=lambda acquired_resource: None))
    manager._live_actors_to_ray_actors_resources[actor] = (None, None)
    manager._actor_task_failed(  # as Ray does
        tracked_actor_task=TrackedActorTask(actor, on_error=task_fails), exception=error
    )


@pytest.mark.parametrize(
    "error", [said.LocalRayletDiedError(), said.RpcError("no GCS"), said.AuthenticationError("no"), KeyError("ours")]
)
def test_what_ends_all_work_is_no_failure_of_a_trial(error: Exception) -> None:
    def fails(actor: TrackedActor, error: Exception) -> None:
        raise AssertionError("the trial is told of it")

    with lost_workers_fail_their_trials(), pytest.raises(RuntimeError) as end:
        told(error, actor_fails=fails, task_fails=fails)
    assert end.value.__cause__ is error, "which is how the session knows what Ray said"
