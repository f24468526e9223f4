"""A listed folder asks for what is there, once."""

from pathlib import Path

import pytest

from orchestrator.store.folder import EPOCHS, RECIPE, RESULT, Folder
from orchestrator.store.places.listed import ListedFolder
from orchestrator.store.store import Store


@pytest.fixture(params=["folder", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "folder":
        return Store(str(tmp_path)).root.folder("trial")
    store: Store = request.getfixturevalue("s3_store")
    return store.root.folder("trial")


def test_what_was_listed_stays_as_it_was(folder: Folder) -> None:
    for name in (RECIPE, RESULT, "resume/state", "large"):
        folder.write_bytes(name, b"{}")
    listed = ListedFolder(folder, folder.stamps())
    assert listed.read_json(RECIPE) == {}
    folder.delete(RECIPE)
    folder.write_bytes(EPOCHS, b"x")
    assert listed.read_json(RECIPE) == {}, "read before"
    assert listed.read_bytes(EPOCHS) is None, "not listed"
    assert listed.names() == ["large", "recipe.json", "result.json", "resume"]
    assert listed.sizes() == dict.fromkeys((RECIPE, RESULT, "resume/state", "large"), 2)
    assert [listed.exists(path) for path in (RECIPE, EPOCHS, "resume")] == [True, False, False]
    folder.delete(RESULT)
    assert listed.read_bytes(RESULT) is None, "gone since"


def test_a_file_of_a_trial_that_runs_comes_back_whole_though_it_grew_since_the_listing(folder: Folder) -> None:
    folder.write_bytes(EPOCHS, b"one")
    listed = ListedFolder(folder, folder.stamps())
    folder.write_bytes(EPOCHS, b"one and two")
    assert listed.read_bytes(EPOCHS) == b"one and two"


def test_large_files_are_not_kept(folder: Folder) -> None:
    folder.write_bytes("checkpoint.safetensors", b"one")
    listed = ListedFolder(folder, folder.stamps())
    assert listed.read_bytes("checkpoint.safetensors") == b"one"
    folder.write_bytes("checkpoint.safetensors", b"two")
    assert listed.read_bytes("checkpoint.safetensors") == b"two"
