"""Code for workers: all four packages, named by their content, of which caches are no part."""

import importlib
import shutil
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import get_uri_for_directory

from cluster.runtime.code import NOT_CODE, PACKAGES, code_for_workers
from cluster.runtime.ray_internals import is_in_job


def test_the_code_is_what_this_process_runs_and_its_version() -> None:
    folders = [Path(folder) for folder in code_for_workers()["py_modules"]]
    assert folders[: len(PACKAGES)] == [Path(importlib.import_module(name).__file__ or "").parent for name in PACKAGES]
    assert [folder.suffix for folder in folders[len(PACKAGES) :]] in ([], [".dist-info"])
    assert all(folder.is_dir() for folder in folders)


def test_modules_of_the_user_go_along_as_a_file_or_with_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one_file.py").write_text("")
    (tmp_path / "a_package" / "inner").mkdir(parents=True)
    (tmp_path / "a_package" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    own = code_for_workers(["one_file", "a_package.inner.nets"])["py_modules"][len(code_for_workers()["py_modules"]) :]
    assert [Path(path) for path in own] == [tmp_path / "a_package", tmp_path / "one_file.py"]


def test_equal_code_is_one_upload_whatever_was_cached_beside_it(tmp_path: Path) -> None:
    code = tmp_path / "search_spaces"
    shutil.copytree(Path(code_for_workers()["py_modules"][0]), code, ignore=shutil.ignore_patterns("__pycache__"))

    def uri() -> str:
        # As Ray names what it uploads.
        return str(get_uri_for_directory(str(code), include_gitignore=True, excludes=NOT_CODE))

    before = uri()
    (code / "__pycache__").mkdir()
    for name in ("__pycache__/errors.cpython-311.pyc", "__pycache__/knapsack.nbi", "direct_url.json"):
        (code / name).write_bytes(b"cached")
    assert uri() == before
    (code / "errors.py").write_text("changed = True\n")
    assert uri() != before


def test_a_process_is_in_a_job_if_its_cluster_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert not is_in_job()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert is_in_job()
