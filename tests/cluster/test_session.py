"""Ray sessions and what trials ask of them."""

import pytest
import ray

from cluster.resources import GPU_SHARE, max_concurrent_trials, trial_resources
from cluster.session import session
from orchestrator.plan import Stage
from search_spaces.errors import UnavailableError


def test_every_stage_has_its_share_of_a_gpu() -> None:
    assert GPU_SHARE.keys() == {str(stage) for stage in Stage}
    assert all(0 < share <= 1 for share in GPU_SHARE.values())


@pytest.mark.parametrize("stage", list(Stage))
def test_trials_ask_for_a_gpu_only_where_there_is_one(stage: Stage) -> None:
    assert trial_resources(stage, {"CPU": 2.0}) == {"cpu": 1}
    assert trial_resources(stage, {"CPU": 2.0, "GPU": 0.0}) == {"cpu": 1}
    assert trial_resources(stage, {"CPU": 8.0, "GPU": 1.0}) == {"cpu": 1, "gpu": GPU_SHARE[stage]}
    assert trial_resources(stage, {"CPU": 8.0, "GPU": 1.0}, whole_gpu=True) == {"cpu": 1, "gpu": 1.0}
    assert trial_resources(stage, {"CPU": 8.0}, whole_gpu=True) == {"cpu": 1}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [({"CPU": 2.0}, 2), ({"CPU": 1.0}, 1), ({}, 1), ({"CPU": 16.0, "GPU": 2.0}, 4), ({"CPU": 2.0, "GPU": 8.0}, 2)],
)
def test_as_many_trials_run_as_cores_and_gpus_allow(resources: dict[str, float], expected: int) -> None:
    assert max_concurrent_trials(resources) == expected


@pytest.mark.ray
@pytest.mark.slow
def test_workers_run_one_thread_and_the_session_ends_with_its_block() -> None:
    @ray.remote
    def threads() -> list[str | None]:
        import os

        return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAY_CHDIR_TO_TRIAL_DIR")]

    with session() as resources:
        assert resources["CPU"] >= 1
        assert ray.get(threads.remote()) == ["1", "1", "0"]
    assert not ray.is_initialized()


@pytest.mark.ray
@pytest.mark.slow
def test_no_cluster_at_the_address_is_one_clear_line() -> None:
    with pytest.raises(UnavailableError, match=r"no Ray cluster answers at '127.0.0.1:1'"), session("127.0.0.1:1"):
        pass
