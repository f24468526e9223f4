"""What `verify` found of a trial stays with it: storage, report and MLflow say the same, and notice damage."""

import io
import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from rich.console import Console

from orchestrator.launch import verification
from orchestrator.plan import Node, build_plan
from orchestrator.reports.page import write_report
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import PAIR_METRICS
from orchestrator.results.verifications import read_verified
from orchestrator.store.folder import CHECKPOINT, RECIPE, VERIFICATION
from orchestrator.store.integrity import find_damage
from orchestrator.store.inventory import find_garbage
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.store.trial import trial_of
from orchestrator.store.verification import read_verification, write_verification
from orchestrator.tracking.runs import read_standing
from search_spaces.errors import StorageError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.stages.registry import Stage
from trainables.deployment.record import Run, Verification
from trainables.runtimes.processor import Processor

SWEEP = "smoke"


def ran(name: str, accuracy: float, *, disagreements: int = 0) -> Run:
    drop = 0.98 - accuracy
    return Run(
        name=name,
        accuracy=accuracy,
        drop=drop,
        drop_low=drop - 0.01,
        drop_high=drop + 0.01,
        disagreements=disagreements,
        largest_difference=0.25,
        disagreeing=(),
    )


def made(simulated: float = 0.25, exported: float = 0.24, int8: float = 0.5) -> Verification:
    return Verification(
        num_images=359,
        accuracy_fp=0.98,
        simulated=ran("simulation", simulated),
        exported=ran("exported file in ONNX Runtime", exported, disagreements=2),
        int8=ran("int8 of ONNX Runtime", int8, disagreements=300),
        culprits=None,
        processor=Processor(name="a processor", machine="x86_64", flags=("avx2",)),
    )


def facts(node: Node, **others: object) -> dict[str, object]:
    own = {"source": f"trial:{node.uid}", "architecture": "test_resnet", "dataset": "digits at 32 px"}
    return own | others


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=300)


def text_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.fixture
def node(store: Store) -> Node:
    """A pair that is done, in a sweep that was launched."""
    plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
    node = next(each for each in plan.nodes if each.stage is Stage.PAIR)
    trial, sweep = trial_of(store, node), Sweep(store, SWEEP)
    trial.write_recipe(node, None)
    trial.write_result(dict.fromkeys(PAIR_METRICS, 0.5), {CHECKPOINT: b"tensors"}, seconds=1, data_sha256="data")
    sweep.save_plan(plan)
    sweep.save_launch(LaunchOptions())
    return node


def snapshot_of(store: Store) -> Snapshot:
    return Snapshot(build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15), store)


def test_what_was_found_of_a_trial_is_kept_and_another_verification_takes_its_place(store: Store, node: Node) -> None:
    trial = trial_of(store, node)
    assert read_verified(trial) is None
    for accuracy, verdict in ((0.25, "format"), (0.98, "neither")):
        found = made(simulated=accuracy, exported=accuracy, int8=accuracy)
        write_verification(trial, found.as_json() | {"of": facts(node)})
        each = read_verified(trial)
        assert each is not None
        assert (each.found, each.verdict, each.dataset) == (found, verdict, "digits at 32 px")


def test_terminal_page_data_json_and_mlflow_say_the_same(
    store: Store, node: Node, console: Console, tmp_path: Path
) -> None:
    found, json_file = made(), tmp_path / "found.json"
    verification.conclude(found, facts(node), console, json_file)
    verification.keep(found, facts(node), store.uri, console)
    written = json.loads(json_file.read_text())
    folder = Path(store.uri) / "sweeps" / SWEEP
    page, kept = (folder / "report.md").read_text(), read_verification(trial_of(store, node))
    assert kept is not None
    assert kept.found == written
    assert (written["verdict"], written["accuracy_runtime"]) == ("format", 0.24)
    assert found.reason in text_of(console)
    assert "Of 1 networks the format breaks 1, this runtime breaks 0, neither breaks 0." in page
    (row,) = [line for line in page.splitlines() if "| format" in line]
    for text in ("359", "98.0", "25.0", "24.0", "50.0", "drop 74.0", "I-"):
        assert text in row
    assert "Run on a processor (without VNNI: avx2)." in page
    data = pd.read_parquet(folder / "runtime.parquet")
    assert dict(zip(data["run"], data["accuracy"], strict=True)) == {
        "simulation": 0.25,
        "exported file in ONNX Runtime": 0.24,
        "int8 of ONNX Runtime": 0.5,
    }
    mlflow.set_tracking_uri(f"sqlite:///{Path(store.uri).absolute()}/mlflow.db")
    (run,) = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.`dptq.uid` = '{node.uid}'", output_format="list"
    )
    assert run.data.tags["dptq.runtime_verdict"] == "format"
    assert run.data.tags["dptq.runtime_reason"] == found.reason
    metrics = {name: value for name, value in run.data.metrics.items() if name.startswith("runtime/")}
    assert metrics == {
        "runtime/accuracy_simulated": 0.25,
        "runtime/accuracy_exported": 0.24,
        "runtime/accuracy_int8": 0.5,
    }
    names = [each.path for each in mlflow.MlflowClient().list_artifacts(run.info.run_id)]
    assert VERIFICATION in names
    # Again: the latest values and the latest verdict are those that stand there.
    verification.keep(made(0.98, 0.98, 0.98), facts(node), store.uri, console)
    run = mlflow.get_run(run.info.run_id)
    assert run.data.tags["dptq.runtime_verdict"] == "neither"
    assert run.data.metrics["runtime/accuracy_int8"] == 0.98


def test_what_was_found_of_other_networks_is_kept_nowhere(store: Store, node: Node, console: Console) -> None:
    before = store.root.sizes()
    verification.keep(made(), facts(node, source="timm:test_resnet"), store.uri, console)
    assert store.root.sizes() == before


def test_a_sweep_that_runs_is_left_to_its_launch(store: Store, node: Node, console: Console) -> None:
    with Sweep(store, SWEEP).driver():
        verification.keep(made(), facts(node), store.uri, console)
    assert f"sweep {SWEEP} runs: it has it when its launch ends." in text_of(console)
    assert not (Path(store.uri) / "sweeps" / SWEEP / "report.md").exists()
    trial = trial_of(store, node)
    mark = read_standing(trial)
    trial.folder.delete(VERIFICATION)
    # The end of a launch replays whatever has another mark than its run.
    assert read_standing(trial) != mark


def test_a_damaged_verification_is_named_with_what_to_do_and_hides_no_pair(store: Store, node: Node) -> None:
    trial = trial_of(store, node)
    write_verification(trial, made().as_json() | {"of": facts(node)})
    assert find_damage([(node, trial)], verify=True) == []
    content = trial.folder.read_json(VERIFICATION)
    assert content is not None
    content["found"]["runs"][0]["accuracy"] = 0.99
    trial.folder.write_json(VERIFICATION, content)
    message = (
        rf"verification.json is damaged \(its checksum differs\): `dptq-sweep verify {node.uid}` measures it again"
    )
    with pytest.raises(StorageError, match=message):
        read_verification(trial)
    assert find_damage([(node, trial)], verify=False) == []
    (damage,) = find_damage([(node, trial)], verify=True)
    assert "verification.json is damaged" in damage.reason
    write_report(snapshot_of(store), SWEEP, facts={})
    page = (Path(store.uri) / "sweeps" / SWEEP / "report.md").read_text()
    assert "not run" in page
    assert "verification.json is damaged" in page


def test_a_verification_of_another_trial_is_none_of_this_one(store: Store, node: Node) -> None:
    trial = trial_of(store, node)
    write_verification(trial, made().as_json())
    content = json.loads((trial.folder.read_bytes(VERIFICATION) or b"").decode())
    other = next(each for each in snapshot_of(store).plan.nodes if each.uid != node.uid)
    trial_of(store, other).folder.write_json(VERIFICATION, content)
    with pytest.raises(StorageError, match=f"is of trial {node.uid}"):
        read_verification(trial_of(store, other))


def test_a_restart_forgets_the_verification_and_gc_takes_it_with_its_trial(store: Store, node: Node) -> None:
    trial = trial_of(store, node)
    write_verification(trial, made().as_json())
    assert find_garbage(store) == []
    store.root.delete_folder(f"sweeps/{SWEEP}")
    (garbage,) = find_garbage(store)
    assert garbage.uid == node.uid
    assert garbage.num_bytes >= len(trial.folder.read_bytes(VERIFICATION) or b"")
    trial.restart()
    assert trial.folder.names() == [RECIPE]
