"""A cluster's machines: asked one by one, seen when they come and go, and never left without the storage."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from cluster.runtime.autoscaler import HEAD, Autoscaler, ScalableNode, ask_autoscaler
from cluster.runtime.capacity import Capacity, current_capacity
from cluster.runtime.nodes import Room, ask_every_machine, num_out_at_once
from cluster.runtime.session import session
from orchestrator.launch.storage_check import check_storage, look
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from search_spaces.errors import ConfigError, StorageError
from tests.cluster.heads import several_nodes


def node_of_this_process() -> str | None:
    node: str = ray.get_runtime_context().get_node_id()
    return node


def fail() -> str | None:
    raise ValueError("no such disk\nhere")


@pytest.mark.ray
@pytest.mark.slow
def test_machines_are_asked_one_by_one_and_must_all_see_the_storage(store: Store, s3_store: Store) -> None:
    with several_nodes(num_cpus=0) as cluster, session(cluster.address):
        cluster.add_node(num_cpus=1)
        local, remote = Sweep(store, "s"), Sweep(s3_store, "s")
        room = Room([0.0], Autoscaler(), clock=iter([0.0, 1.0, 6.0]).__next__)
        assert room() == 1
        cluster.add_node(num_cpus=2)
        assert room() == 1, "asked a second ago"
        assert room() == 3
        answers = ask_every_machine(node_of_this_process)
        assert len(answers) == len({node for _, node in answers}) == 2, "the head runs no trials"
        assert {answer for _, answer in ask_every_machine(fail)} == {"ValueError: no such disk"}
        capacity = current_capacity(ask_autoscaler())
        with local.driver(), remote.driver():
            with pytest.raises(ConfigError, match=r"the Ray cluster has 3 machines: give --storage s3://"):
                check_storage(local, capacity, is_shared=False)
            check_storage(local, capacity, is_shared=True)
            check_storage(remote, capacity, is_shared=False)
            assert look(store.uri, "s", None) is not None
            # What another machine would see at the path of a folder that is not shared.
            (owner,) = [path for path in (Path(store.uri) / "sweeps/s").iterdir() if path.suffix == ".json"]
            owner.write_text(owner.read_text().replace('"id": "', '"id": "x'))
            assert look(store.uri, "s", "me") == f"{store.uri}/sweeps/s is not the folder that the driver writes"
        os.remove(Path(store.uri) / "sweeps/s/driver.json")


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_that_may_grow_needs_a_storage_that_new_machines_see(store: Store) -> None:
    sweep = Sweep(store, "s")
    with several_nodes(num_cpus=1) as cluster, session(cluster.address) as capacity, sweep.driver():
        assert not capacity.may_grow
        check_storage(sweep, capacity, is_shared=False)
        grows = replace(capacity, autoscaler=Autoscaler(unknown="403 Forbidden"))
        with pytest.raises(ConfigError, match="the Ray cluster adds machines as it needs them"):
            check_storage(sweep, grows, is_shared=False)
        check_storage(sweep, grows, is_shared=True)
        with pytest.raises(StorageError, match=r"^1 of 1 machines cannot use .* is not the folder that the driver"):
            check_storage(Sweep(store, "other"), grows, is_shared=True)


def test_a_few_trials_wait_for_machines_that_may_come_and_never_more_than_would_ever_run() -> None:
    gpu = ScalableNode(name="gpu", resources={"CPU": 4, "GPU": 1}, max_nodes=6)
    autoscaler = Autoscaler(node_types=[gpu], max_nodes=6)
    head, node = {HEAD: 1.0, "CPU": 0.0}, {"CPU": 4.0, "GPU": 1.0}
    outs = [
        num_out_at_once(Capacity(nodes=[head, *[node] * count], autoscaler=autoscaler), [0.5]) for count in range(7)
    ]
    # None runs: one and the eight that wait. With two machines four run, with four eight, and twelve at most.
    assert outs == [9, 10, 12, 12, 12, 12, 12]
    assert num_out_at_once(Capacity(nodes=[head, node]), [0.5]) == 2
