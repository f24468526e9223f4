"""A finished trial run again gives the same bits, and `reproduce` says what differs where it does not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy
from click.testing import CliRunner

from orchestrator.cli.sweep.reproduce import command
from orchestrator.launch import reproduction
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.store.folder import CHECKPOINT, ENVIRONMENT, RESULT, sha256
from orchestrator.store.provenance import facts as provenance
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.workers import trial as trial_worker
from search_spaces.errors import ConfigError, StorageError
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.model import vary


def tiny_plan(*overrides: str) -> Plan:
    grid: Grid = build_grid("smoke", Choices(overrides=overrides), lambda _: 15)
    teacher = vary(grid.teacher, architecture="test_resnet")
    return build_plan(vary(grid, teacher=teacher.model_dump()), lambda _: 15)


PLAN = tiny_plan()
CHAIN: tuple[Node, ...] = PLAN.nodes[:3]
# One more pair whose student starts from that of the first.
CHILD = tiny_plan(f"pair.start_from={CHAIN[2].uid}", "pair.epochs=1").nodes[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, a white box, a pair and another that starts from it, trained as a worker trains them."""
    storage = tmp_path_factory.mktemp("finished") / "storage"
    store = Store(str(storage))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.tune.report", lambda metrics: None)
        patch.setattr("ray.get_gpu_ids", list)
        for node in (*CHAIN, CHILD):
            trial_of(store, node).write_recipe(node, None)
            config = {
                "storage": store.uri,
                "stage": str(node.stage),
                "uid": node.uid,
                "data_dir": None,
                "stop_file": "stop",
            }
            trial_worker.run_trial(config | {"stop_file": "stop"})
    return storage


@pytest.fixture
def storage(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "storage"))


def trial(storage: Path, place: int = 2) -> TrialFolder:
    return trial_of(Store(str(storage)), CHAIN[place])


def reproduce(storage: Path, *arguments: str) -> tuple[int, str]:
    code = "from orchestrator.cli.main import main; main()"
    typed = [sys.executable, "-c", code, "reproduce", *arguments, "--storage", str(storage)]
    done = subprocess.run(typed, capture_output=True, text=True, timeout=120, check=False, cwd=storage.parent)
    return done.returncode, done.stdout + done.stderr


def contents(storage: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()}


def test_every_run_tells_what_it_ran_with(finished: Path) -> None:
    facts = json.loads((finished / "pair" / CHAIN[2].uid / ENVIRONMENT).read_text())
    assert facts["versions"].keys() == {"python", *provenance.PACKAGES}
    assert facts["device"].startswith("cpu ")
    assert facts["seeds"] == {"trial": 0, "split": 0}
    assert facts["num_threads"] == 1
    assert facts["data_sha256"] == json.loads((finished / "pair" / CHAIN[2].uid / RESULT).read_text())["data_sha256"]
    assert {"git_commit", "git_diff_sha256", "git_diff", "machine"} <= facts.keys()


def test_a_pair_on_another_is_reproduced_bit_by_bit_and_the_storage_is_only_read(storage: Path, tmp_path: Path) -> None:
    before = contents(storage)
    code, out = reproduce(storage, CHILD.uid[:8], "--keep", str(tmp_path / "again"))
    assert code == 0, out
    assert "reproduced bit by bit: 0 metrics and 0 tensors differ" in out
    assert contents(storage) == before
    again = trial_of(Store(str(tmp_path / "again")), CHILD).read_checked(CHECKPOINT)
    assert again == trial_of(Store(str(storage)), CHILD).read_checked(CHECKPOINT)


def test_what_differs_is_named_and_exits_with_1(storage: Path) -> None:
    folder = trial(storage, 0)
    tensors = safetensors.numpy.load(folder.read_checked(CHECKPOINT))
    name = next(name for name, tensor in tensors.items() if tensor.dtype == "float32")
    tensors[name] = tensors[name] + 0.5
    content = safetensors.numpy.save(tensors)
    folder.folder.write_bytes(CHECKPOINT, content)
    result = folder.folder.read_json(RESULT)
    assert result is not None
    metrics = result["metrics"] | {"test/accuracy": 0.123}
    files = result["files"] | {CHECKPOINT: sha256(content)}
    folder.folder.write_json(RESULT, result | {"metrics": metrics, "files": files})
    facts = folder.folder.read_json(ENVIRONMENT)
    assert facts is not None
    folder.folder.write_json(
        ENVIRONMENT, facts | {"versions": facts["versions"] | {"torch": "1.0"}, "git_commit": "abc"}
    )
    code, out = reproduce(storage, folder.uid)
    assert code == 1
    assert "different: torch: 1.0 then, " in out
    assert "different: git_commit: abc then, " in out
    assert "test/accuracy: 0.123 stored, " in out
    assert f"{name}: differs by up to 0.5" in out
    assert "NOT reproduced bit by bit: 1 metrics and 1 tensors differ" in out


@pytest.mark.parametrize(
    ("case", "error", "reason"),
    [("not done", ConfigError, "only one that is done"), ("damaged", StorageError, "is damaged")],
)
def test_what_cannot_be_reproduced_is_refused(
    storage: Path, tmp_path: Path, case: str, error: type[Exception], reason: str
) -> None:
    folder = trial(storage)
    if case == "not done":
        folder.folder.delete(RESULT)
    else:
        folder.folder.write_bytes(CHECKPOINT, b"cut short")
    before = contents(storage)
    with pytest.raises(error, match=reason):
        reproduction.reproduce(folder, Store(str(storage)), Store(str(tmp_path / "again")), None, print)
    assert contents(storage) == before


def test_a_result_is_never_compared_with_itself(storage: Path) -> None:
    before = contents(storage)
    result = CliRunner().invoke(command, [CHAIN[2].uid, "--storage", str(storage), "--keep", str(storage)])
    assert isinstance(result.exception, ConfigError)
    assert "is the storage itself" in str(result.exception)
    assert contents(storage) == before
