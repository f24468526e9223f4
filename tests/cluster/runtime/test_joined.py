"""Joining a cluster that others started: our code goes along, its autoscaler is asked, and grows when it is told to."""

from collections.abc import Iterator

import pytest
import ray

from cluster.runtime.autoscaler import request_bundles
from cluster.runtime.capacity import Capacity, check_room
from cluster.runtime.code import PACKAGES
from cluster.runtime.session import WORKER_ENVIRONMENT, session
from tests.cluster.heads import Head, running_head
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]
GPU_NODES = {"gpu": {"resources": {"CPU": 4, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head(GPU_NODES) as head:
        yield head


@pytest.fixture(scope="module")
def joined(head: Head) -> Iterator[Capacity]:
    with pytest.MonkeyPatch.context() as patch:
        # Ray lets workers import from the folder in which their driver runs, where the machine has it.
        patch.chdir(head.folder)
        with session(head.address, environment={"DPTQ_GIT_COMMIT": "abc"}) as capacity:
            yield capacity


def test_workers_import_the_code_that_went_along(joined: Capacity, head: Head) -> None:
    @ray.remote
    def where_code_lies() -> list[str]:
        import importlib
        import os

        places = [str(importlib.import_module(name).__file__) for name in PACKAGES]
        return [*places, os.environ["DPTQ_GIT_COMMIT"], os.environ["OMP_NUM_THREADS"]]

    *places, commit, threads = ray.get(where_code_lies.remote())
    assert [place for place in places if not place.startswith(f"{head.folder}/ray/")] == []
    assert (commit, threads) == ("abc", WORKER_ENVIRONMENT["OMP_NUM_THREADS"])


def test_a_cluster_without_any_gpu_yet_counts_those_that_it_can_get(joined: Capacity) -> None:
    assert "GPU" not in ray.cluster_resources()
    assert joined.resources == {"CPU": 2 + 2 * 4, "GPU": 2}
    check_room({"pair/x": {"CPU": 1, "GPU": 0.5}}, joined)


def test_a_cluster_grows_when_it_is_told_what_should_fit(joined: Capacity) -> None:
    # Two halves of a GPU and a whole one: two nodes.
    request_bundles([{"CPU": 1, "GPU": 0.5}, {"CPU": 1, "GPU": 0.5}, {"CPU": 1, "GPU": 1.0}])
    try:
        wait_until(lambda: ray.cluster_resources().get("GPU", 0) >= 2, ray.cluster_resources, pause_seconds=0.5)
    finally:
        request_bundles([])
    assert ray.cluster_resources()["CPU"] == joined.resources["CPU"]
