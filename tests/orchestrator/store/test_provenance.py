"""What a trial says it ran with: the checkout and its changes, versions, and what differs later."""

import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.plan import build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import mixed_code, read_trials
from orchestrator.store.folder import sha256
from orchestrator.store.provenance import facts as provenance
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.made_up import pair_metrics


@pytest.fixture(autouse=True)
def _asked_again() -> Iterator[None]:
    provenance.code_state.cache_clear()
    yield
    provenance.code_state.cache_clear()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of a checkout with one commit, which is taken for provenance's own."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    module = tmp_path / "package" / "room" / "inner" / "module.py"
    module.parent.mkdir(parents=True)
    module.write_text("a = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(module))
    return module


def test_uncommitted_changes_are_part_of_the_facts(module: Path) -> None:
    clean = provenance.code_state()
    module.write_text("a = 2\n")
    provenance.code_state.cache_clear()
    dirty = provenance.code_state()
    assert clean["git_commit"] == dirty["git_commit"]
    assert len(clean["git_commit"] or "") == 40
    assert (clean["git_diff"], clean["git_diff_sha256"]) == (None, None)
    diff = subprocess.run(["git", "-C", str(module.parent), "diff", "HEAD"], capture_output=True, check=True).stdout
    assert b"+a = 2" in diff
    assert (dirty["git_diff"], dirty["git_diff_sha256"]) == (None, sha256(diff)), "the checksum, and not what changed"


def test_diff_is_kept_on_request_without_what_looks_like_a_secret(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = {
        "api_key": 'api_key = "abcdef"',
        "by its form": "at = 'AKIAABCDEFGHIJKLMNOP'",
        "held by a variable": "connect('s3cret-one')",
        "in a URL": "url = 'http://alice:hunter2@host/'",
        "a key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    }
    module.write_text("\n".join(["a = 2", *lines.values()]))
    monkeypatch.setenv("STORE_PASSWORD", "s3cret-one")
    monkeypatch.setenv(provenance.KEEP_DIFF, "1")
    kept = provenance.code_state()["git_diff"] or ""
    assert "+a = 2" in kept
    assert not [secret for secret in ("abcdef", "AKIA", "s3cret", "hunter2", "MIIE") if secret in kept]


def test_table_of_several_versions_of_the_code_says_so(store: Store) -> None:
    assert (provenance.code_names({}), provenance.code_names({"versions": {"dptq-sweep": "1"}})) == (
        (),
        ("dptq-sweep 1",),
    )
    plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
    for node, code in zip(plan.nodes, [("a",), ("a", "b"), ("b",)], strict=False):
        trial_of(store, node).write_result(pair_metrics(), {}, seconds=1.0, data_sha256="d", code=code)
    assert mixed_code(read_trials(Snapshot(plan, store))) == (
        "The trials ran with 2 versions of the code: a (2 trials), b (2 trials)."
    )
    assert mixed_code(read_trials(Snapshot(plan, store))[:1]) == ""


def test_code_that_was_copied_to_a_cluster_still_knows_its_commit(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.write_text("a = 2\n")
    here = provenance.code_state()
    for name, value in provenance.code_variables().items():
        monkeypatch.setenv(name, value)
    # Nothing but these variables is asked there: the copy is no checkout.
    monkeypatch.setattr(provenance, "_git", lambda *arguments: pytest.fail("asked git"))
    provenance.code_state.cache_clear()
    assert provenance.code_state() == here | {"git_diff": None}
    assert provenance.git_commit() == here["git_commit"]


def test_an_installed_package_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "package" / "room" / "inner" / "module.py"
    monkeypatch.setattr(provenance, "__file__", str(module))
    nothing = {"git_commit": None, "git_diff_sha256": None, "git_diff": None}
    assert provenance.code_state() == nothing
    # A folder of that name which Git does not know.
    provenance.code_state.cache_clear()
    (tmp_path / ".git").mkdir()
    assert provenance.code_state() == nothing
    assert provenance.code_variables() == {}


def test_of_a_long_difference_the_beginning_is_kept_and_the_checksum_is_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    diff = "x" * provenance.LONGEST_DIFF + "y"
    monkeypatch.setenv(provenance.KEEP_DIFF, "1")
    monkeypatch.setattr(provenance, "_git", lambda *arguments: diff if arguments == ("diff", "HEAD") else "c0ffee\n")
    assert provenance.code_state() == {
        "git_commit": "c0ffee",
        "git_diff_sha256": sha256(diff.encode()),
        "git_diff": "x" * provenance.LONGEST_DIFF,
    }


def test_an_environment_tells_versions_seeds_and_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package"))
    found = provenance.environment(device="cpu", data_sha256="d", seeds={"training": 3})
    assert found["versions"] == {
        "python": platform.python_version(),
        "torch": version("torch"),
        "no-such-package": "not installed",
    }
    assert (found["device"], found["data_sha256"], found["seeds"]) == ("cpu", "d", {"training": 3})
    assert found["machine"] == f"{platform.system()} {platform.machine()}"
    assert {"git_commit", "git_diff_sha256", "git_diff"} < found.keys()


def test_differences_name_what_was_there_then_and_what_is_there_now() -> None:
    before = {"git_commit": "a", "device": "cpu", "seeds": {"training": 1}, "versions": {"numpy": "2", "old": "1"}}
    now = {"git_commit": "b", "device": "cpu", "machine": "Linux", "versions": {"numpy": "2", "new": "1"}}
    assert provenance.differences(before, now | {"seeds": {"training": 2}}) == [
        "git_commit: a then, b now",
        "machine: none then, Linux now",
        "old: 1 then, none now",
        "new: none then, 1 now",
    ]


@pytest.mark.parametrize("commit", ["c0ffee", None])
def test_facts_of_a_sweep_begin_with_its_grid_and_end_with_the_commit(
    monkeypatch: pytest.MonkeyPatch, commit: str | None
) -> None:
    monkeypatch.setattr(provenance, "git_commit", lambda: commit)
    grid = build_grid("smoke", Choices(seeds=(3, 4)), lambda _: 15)
    facts = provenance.sweep_facts(build_plan(grid, lambda _: 15))
    assert list(facts.items())[:3] == [("grid", "smoke"), ("dataset", "digits at 32 px"), ("seed", "3 4")]
    assert facts["mlflow"] == version("mlflow")
    assert facts.get("mlflow.source.git.commit") == commit
