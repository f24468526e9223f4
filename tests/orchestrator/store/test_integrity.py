"""Damage to finished trials is found and named before anything builds on it."""

from collections.abc import Callable

import pytest

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import CHECKPOINT, RECIPE, RESULT, Folder
from orchestrator.store.integrity import find_damage
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from search_spaces.grids.build import Choices, build_grid

PLAN: Plan = build_plan(build_grid("quick", Choices(), lambda _: 15), lambda _: 15)
NODE = PLAN.nodes[2]


@pytest.fixture
def folder(store: Store) -> Folder:
    """A finished trial."""
    trial = trial_of(store, NODE)
    trial.write_recipe(NODE, None)
    trial.write_result({"test/accuracy_fp": 0.5}, {CHECKPOINT: b"tensors"}, seconds=1.0, data_sha256="d")
    return trial.folder


def trials(store: Store) -> list[tuple[Node, TrialFolder]]:
    snapshot = Snapshot(PLAN, store)
    return [(node, snapshot.trial(node)) for node in PLAN.nodes]


def change_result(folder: Folder, **changes: object) -> None:
    folder.write_json(RESULT, (folder.read_json(RESULT) or {}) | changes)


@pytest.mark.parametrize("verify", [False, True])
def test_sound_and_unfinished_trials_are_not_damaged(store: Store, folder: Folder, verify: bool) -> None:
    assert find_damage(trials(store), verify=verify) == []


DAMAGES: dict[str, tuple[Callable[[Folder], object], str]] = {
    "torn result": (lambda f: f.write_bytes(RESULT, b'{"schema": 1, "uid'), "is not a JSON object"),
    "empty result": (lambda f: f.write_bytes(RESULT, b""), "is not a JSON object"),
    "result of another schema": (lambda f: change_result(f, schema=7), "has schema 7"),
    "result of another trial": (lambda f: change_result(f, uid="x"), f"is no result of trial {NODE.uid}"),
    "result without files": (lambda f: change_result(f, files=None), "is no result of trial"),
    "torn recipe": (lambda f: f.write_bytes(RECIPE, b"{"), "recipe.json is not a JSON object"),
    "missing checkpoint": (lambda f: f.delete(CHECKPOINT), "checkpoint.safetensors is missing"),
}


@pytest.mark.parametrize(("hurt", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named_without_reading_big_files(
    store: Store, folder: Folder, hurt: Callable[[Folder], object], reason: str
) -> None:
    hurt(folder)
    (damage,) = find_damage(trials(store), verify=False)
    assert damage.node == NODE
    assert reason in damage.reason


def test_flipped_byte_is_found_by_its_checksum_when_asked_to_verify(store: Store, folder: Folder) -> None:
    folder.write_bytes(CHECKPOINT, b"tensorS")
    assert find_damage(trials(store), verify=False) == []
    (damage,) = find_damage(trials(store), verify=True)
    assert "is damaged (its checksum differs)" in damage.reason
