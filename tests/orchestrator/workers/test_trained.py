"""The network of a trial, from its storage: of a teacher and a white box all of it, of a pair the student."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.workers.trained import PREFIXES, trained_network
from search_spaces.errors import ConfigError, StorageError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.models import model_spec
from search_spaces.stages.registry import STAGES, Stage
from trainables.checkpoints import to_bytes, with_prefix
from trainables.data.view import View
from trainables.models.backbones import create_backbone
from trainables.models.fingerprint import state_sha256
from trainables.models.given import GivenNetwork
from trainables.models.registry import open_network


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)


@pytest.fixture
def opened(store: Store) -> Callable[[str], GivenNetwork]:
    return lambda uri: open_network(model_spec(uri), read_trial=partial(trained_network, store))


def done(store: Store, node: Node) -> nn.Module:
    """Writes a trial that is done, with random weights, and returns its network."""
    network = create_backbone(node.recipe.model_dump()["architecture"], 10).eval()
    folder = trial_of(store, node)
    folder.write_recipe(node, None)
    tensors = with_prefix(PREFIXES[node.stage], network.state_dict())
    if node.stage is Stage.PAIR:
        tensors |= {"policy.head.weight": torch.zeros(2, 2)}
    folder.write_result({}, {CHECKPOINT: to_bytes(tensors)}, seconds=1, data_sha256="data")
    return network


@pytest.mark.parametrize("stage", list(PREFIXES))
def test_the_network_of_a_trial_comes_with_its_weights_and_the_view_of_its_data(
    stage: Stage, store: Store, plan: Plan, opened: Callable[[str], GivenNetwork]
) -> None:
    node = next(each for each in plan.nodes if each.stage is stage)
    network = done(store, node)
    # The uid alone names it too.
    given = opened(node.uid)
    assert given.uri == f"trial:{node.uid}"
    assert given.sha256 == state_sha256(network.state_dict())
    assert (given.num_classes, given.view) == (10, View(32, 32))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(given.module(images), network(images).detach())


def test_every_stage_that_trains_has_a_network() -> None:
    assert set(PREFIXES) == {stage for stage in Stage if STAGES[stage].is_training}


def test_a_trial_that_is_unknown_unfinished_or_damaged_gets_one_line(
    store: Store, plan: Plan, opened: Callable[[str], GivenNetwork]
) -> None:
    node = plan.nodes[0]
    with pytest.raises(ConfigError, match=rf"has no trial {node.uid}"):
        opened(node.uid)
    trial_of(store, node).write_recipe(node, None)
    with pytest.raises(ConfigError, match=rf"trial {node.uid} \(.*\) is not done"):
        opened(node.uid)
    done(store, node)
    TrialFolder(store, node.stage, node.uid).folder.write_bytes(CHECKPOINT, b"other")
    with pytest.raises(StorageError, match=r"is damaged"):
        opened(node.uid)


def test_a_trial_without_a_storage_asks_for_one(plan: Plan) -> None:
    with pytest.raises(ConfigError, match=r"lies in a storage, and none is given: give --storage"):
        open_network(model_spec(plan.nodes[0].uid))
