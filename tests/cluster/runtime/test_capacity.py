"""What a cluster can grow to, and refusing at once what would wait for ever."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.runtime.autoscaler import HEAD, Autoscaler, ScalableNode, autoscaler_of
from cluster.runtime.capacity import Capacity, check_room
from search_spaces.errors import ConfigError

GPU_NODE = ScalableNode(name="gpu", resources={"CPU": 16, "GPU": 1}, max_nodes=4)
HEAD_NODE = {"CPU": 2.0, HEAD: 1.0}


def test_a_cluster_that_scales_from_zero_counts_what_it_can_grow_to() -> None:
    capacity = Capacity(nodes=[HEAD_NODE], autoscaler=Autoscaler(node_types=[GPU_NODE], max_nodes=4))
    assert capacity.resources == {"CPU": 66.0, "GPU": 4}
    # Workers that run already are among those four.
    grown = Capacity(nodes=[HEAD_NODE, *[{"CPU": 16.0, "GPU": 1.0}] * 3], autoscaler=capacity.autoscaler)
    assert grown.resources == capacity.resources


def test_a_cluster_that_does_not_grow_is_the_sum_of_its_nodes_and_has_no_key_for_gpus() -> None:
    assert Capacity(nodes=[HEAD_NODE, {"CPU": 4.0, "memory": 1e9}]).resources == {"CPU": 6.0}


COUNTS = st.integers(0, 3)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), max_size=3), st.integers(0, 5))
def test_no_set_of_nodes_that_the_autoscaler_may_start_has_more_than_the_bound(
    kinds: list[tuple[int, int, int]], max_nodes: int
) -> None:
    node_types = [
        ScalableNode(name=str(number), resources={"CPU": cpus, "GPU": gpus}, max_nodes=most)
        for number, (cpus, gpus, most) in enumerate(kinds)
    ]
    scaler = Autoscaler(node_types=node_types, max_nodes=max_nodes)
    for name in ("CPU", "GPU"):
        reachable = [
            sum(count * each.resources[name] for count, each in zip(counts, node_types, strict=True))
            for counts in itertools.product(*(range(each.max_nodes + 1) for each in node_types))
            if sum(counts) <= max_nodes
        ]
        assert scaler.at_most(name) == max(reachable)


def test_settings_without_limits_mean_what_rays_launcher_takes_them_for() -> None:
    types = {"head": {"resources": {"CPU": 2}}, "spot": {"resources": {"GPU": 1}}, "none": {"max_workers": 0}}
    scaler = autoscaler_of({"max_workers": 7, "head_node_type": "head", "available_node_types": types})
    assert [(each.name, each.max_nodes) for each in scaler.node_types] == [("spot", 7)]


def test_a_trial_that_fits_on_no_node_is_refused_in_one_line_with_its_need_and_the_cure() -> None:
    requests = {"teacher/resnet50/seed0": {"CPU": 1, "GPU": 1.0}, "distill/resnet18/seed0": {"CPU": 1, "GPU": 1.0}}
    with pytest.raises(ConfigError) as caught:
        check_room(requests, Capacity(nodes=[HEAD_NODE, {"CPU": 8.0}]))
    assert str(caught.value) == (
        "trial teacher/resnet50/seed0 and 1 more needs CPU:1 GPU:1; no node type has that (the largest node has CPU:8, "
        "and the cluster does not grow): launch without --gpus-per-trial, or join another cluster."
    )


def test_a_node_must_have_all_that_a_trial_needs_at_once() -> None:
    capacity = Capacity(nodes=[{"CPU": 8.0}, {"CPU": 0.0, "GPU": 1.0}])
    with pytest.raises(ConfigError, match=r"needs CPU:1 GPU:0\.5; no node type has that"):
        check_room({"pair/x": {"CPU": 1, "GPU": 0.5}}, capacity)
    check_room({"pair/x": {"CPU": 1}}, capacity)


def test_a_node_that_does_not_run_yet_has_room_for_a_trial() -> None:
    scaler = Autoscaler(node_types=[GPU_NODE], max_nodes=4)
    check_room({"pair/x": {"CPU": 1, "GPU": 1}}, Capacity(nodes=[HEAD_NODE], autoscaler=scaler))
    with pytest.raises(ConfigError, match=r"its autoscaler adds gpu with CPU:16 GPU:1\)"):
        check_room({"pair/x": {"CPU": 1, "GPU": 2}}, Capacity(nodes=[HEAD_NODE], autoscaler=scaler))


def test_a_cluster_without_cores_for_trials_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"the largest node has nothing, .*: give its nodes at least one core"):
        check_room({"pair/x": {"CPU": 1}}, Capacity(nodes=[{HEAD: 1.0}]))
