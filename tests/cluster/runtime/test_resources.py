"""What trials ask of Ray: shares that tile a GPU exactly, and never more trials than cores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.runtime.resources import (
    GPU_SHARE,
    MAX_TRIALS_PER_GPU,
    max_concurrent_trials,
    share_of,
    shares_per_gpu,
    trial_resources,
    trials_per_gpu,
)
from search_spaces.stages.registry import Stage

BYTES = st.integers(1, 200 * 10**9)


def test_every_stage_has_its_share_of_a_gpu() -> None:
    assert GPU_SHARE.keys() == {str(stage) for stage in Stage}
    assert all(0 < share <= 1 for share in GPU_SHARE.values())


def test_trials_ask_for_a_gpu_only_where_there_is_one() -> None:
    assert trial_resources(0.0) == {"cpu": 1}
    assert trial_resources(0.0, whole_gpu=True) == {"cpu": 1}
    assert trial_resources(0.25) == {"cpu": 1, "gpu": 0.25}
    assert trial_resources(0.25, whole_gpu=True) == {"cpu": 1, "gpu": 1.0}


@pytest.mark.parametrize(
    ("resources", "shares", "expected"),
    [
        ({"CPU": 2.0}, [0.0], 2),
        ({"CPU": 1.0}, [0.0], 1),
        ({}, [], 1),
        ({"CPU": 16.0, "GPU": 2.0}, [1.0, 0.5], 4),
        ({"CPU": 16.0, "GPU": 2.0}, [share_of(7)], 14),
        ({"CPU": 16.0, "GPU": 1.0}, [0.3], 3),
        ({"CPU": 2.0, "GPU": 8.0}, [0.5], 2),
    ],
)
def test_as_many_trials_run_as_cores_and_gpus_allow(
    resources: dict[str, float], shares: list[float], expected: int
) -> None:
    assert max_concurrent_trials(resources, shares) == expected


@given(st.integers(1, 64))
def test_shares_tile_a_gpu_exactly_in_rays_units_however_ray_rounds(num_trials: int) -> None:
    share = share_of(num_trials)
    for units in (int(share * 10_000), round(share * 10_000)):
        assert units * num_trials <= 10_000 < units * (num_trials + 1)
    assert shares_per_gpu(share) == num_trials


@given(BYTES, BYTES, st.integers(1, 64), st.integers(1, 16))
def test_as_many_trials_share_a_gpu_as_fit_with_headroom_and_have_a_core(
    peak_bytes: int, total_bytes: int, cpus: int, gpus: int
) -> None:
    count = trials_per_gpu(peak_bytes, total_bytes, {"CPU": float(cpus), "GPU": float(gpus)})
    counts = range(1, MAX_TRIALS_PER_GPU + 1)
    fitting = [n for n in counts if n * peak_bytes * 11 <= total_bytes * 10 and n * gpus <= cpus]
    # One trial runs in any case: if it does not fit, it says so itself.
    assert count == max(fitting, default=1)
