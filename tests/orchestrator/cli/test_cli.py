"""The command line: what it prints, and one clear line for everything a user can get wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import COMMANDS, main
from orchestrator.plan import Plan, build_plan
from orchestrator.store.folder import RESULT
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid

PLAN: Plan = build_plan(build_grid("quick", Choices(), lambda _: 15), lambda _: 15)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_info:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(exit_info.value.code or 0), printed.out, printed.err

    return run_it


def test_plan_of_the_full_grid_lists_the_papers_trials(run: Run) -> None:
    code, out, _ = run("plan", "--grid", "full", "--json")
    plan: dict[str, Any] = json.loads(out)
    assert code == 0
    stages = [node["stage"] for node in plan["nodes"]]
    assert {stage: stages.count(stage) for stage in stages} == {"teacher": 1, "distill": 3, "pair": 52}
    assert len(plan["refused"]) == 2
    assert all("385..770" in refusal["reason"] for refusal in plan["refused"])
    assert plan["nodes"][0].keys() >= {"uid", "stage", "parents", "state"}
    assert {node["state"] for node in plan["nodes"]} == {"waiting"}


def test_plan_prints_every_uid_whole(run: Run) -> None:
    _, out, _ = run("plan", "--json")
    uids = [node["uid"] for node in json.loads(out)["nodes"]]
    code, table, _ = run("plan")
    assert code == 0
    assert all(uid in table for uid in uids)
    assert "16 trials (1 teacher, 1 distill, 14 pair): 0 cached, 12 to run, 4 skipped" in table
    assert (
        "parity within 1 pp takes 1,132 test images if 1 % of answers change, 1,901 if 2 % do (level 0.05); "
        "mnist-5k has 1,500" in table
    )


def test_plan_says_how_many_validation_images_a_search_until_shown_waits_for(run: Run) -> None:
    _, plain, _ = run("plan")
    _, out, _ = run("plan", "--search-until", "shown")
    assert "until" not in plain
    assert "until=shown): that takes 268 of them if no answer changes, 1,132 if 1 % do; mnist-5k has 350" in " ".join(
        out.split()
    )
    assert run("plan", "--search-until", "shown", "--keep-searching")[0] != 0


def test_options_override_a_grid_file_and_single_values_win(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("name: mine\nbase: digits\npair: {epochs: 8}\nbudgets: [{average_bits: 6}]")
    changes = ["--seed", "4", "--seed", "5", "--budget", "82", "--epochs-scale", "0.25", "--set", "distill.epochs=3"]
    code, out, _ = run("plan", "--grid", "my.yaml", "--goal", "robust", *changes, "--json")
    assert code == 0
    nodes = json.loads(out)["nodes"]
    assert [node["name"] for node in nodes if node["stage"] == "pair"] == [
        "pair/test_resnet/I/82b/robust/seed4",
        "pair/test_resnet/I/82b/robust/seed5",
    ]
    assert {node["stage"]: node["recipe"]["epochs"] for node in nodes} == {"teacher": 2, "distill": 3, "pair": 2}


def test_plan_shows_the_total_that_an_average_became(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("name: mine\nbase: quick\nbudgets: [{average_bits: 5.5, level: middle}]")
    _, out, _ = run("plan", "--grid", "my.yaml", "--architecture", "resnet18", "--architecture", "test_resnet")
    lines = {line.split()[1]: line.split()[2] for line in out.splitlines() if "pair/" in line}
    assert lines["pair/resnet18/I/middle/robust/seed0"] == "110"
    assert lines["pair/test_resnet/I/middle/robust/seed0"] == "82"


def test_dry_run_prints_the_plan_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    _, plan, _ = run("plan")
    code, dry_run, _ = run("launch", "--dry-run")
    assert (code, dry_run) == (0, plan)
    assert list(tmp_path.iterdir()) == []


BAD_INPUT = {
    "unknown grid": (["plan", "--grid", "quik"], "unknown grid 'quik'. Did you mean 'quick'"),
    "unknown dataset": (["launch", "--dataset", "digit"], "unknown dataset 'digit'. Did you mean 'digits'"),
    "dataset of no place": (["plan", "--dataset", "folder:"], "names no path: folder:PATH reads class folders"),
    "credentials in the dataset": (["plan", "--dataset", "parquet:s3://me:secret@b/x"], "holds credentials"),
    "folder missing": (["launch", "--dataset", "folder:nothing"], "nothing is no folder on this machine"),
    "CIFAR-10 missing": (["launch", "--dataset", "cifar10"], "launch with --download, or put train.parquet"),
    "too few images": (["launch", "--train-images", "5"], "choose 20 (its 10 classes need 2 each)"),
    "nothing to download": (["launch", "--download"], "--download fetches cifar10 and oxford-iiit-pet"),
    "unknown architecture": (["plan", "--architecture", "resnet81"], "Did you mean 'resnet18'"),
    "unknown option set": (["plan", "--option-set", "IV"], "unknown option set 'IV'. Did you mean"),
    "infeasible budget": (
        ["plan", "--budget", "20"],
        "every allocation sums to 45..150. The nearest feasible budget is 45",
    ),
    "unknown teacher weights": (["plan", "--teacher-weights", ""], "--teacher-weights teacher.weights=''"),
    "epochs scaled to nothing": (["plan", "--epochs-scale", "0"], "--epochs-scale 0.0 scales no epochs"),
    "epochs scaled by no number": (["plan", "--epochs-scale", "nan"], "--epochs-scale nan scales no epochs"),
    "unknown field set": (["plan", "--set", "pair.marginn=1"], "'--set pair.marginn'. Did you mean 'margin'"),
    "bad value set": (["plan", "--set", "pair.margin=2"], "--set pair.margin=2: Input should be less than 1"),
    "budget set": (["plan", "--set", "pair.budget=82"], "is for the cells to set: use --budget"),
    "grid file missing": (["plan", "--grid", "none.yaml"], "none.yaml cannot be read: No such file"),
    "key in a grid file": (["plan", "--grid", "bad.yaml"], "unknown field 'bad.yaml: pair.robust.marginn'. Did you"),
    "budget of a grid file changed": (
        ["launch", "--grid", "edited.yaml"],
        "launch it with all that it has",
    ),
    "storage is a file": (["launch", "--storage", "file"], "cannot write"),
    "storage of unknown kind": (["launch", "--storage", "ftp://host/x"], "storage 'ftp://host/x' cannot be opened"),
    "credentials in the storage": (["plan", "--storage", "s3://me:secret@bucket/x"], "holds credentials"),
    "sweep name leaves the storage": (["launch", "--name", "../x"], "sweep name '../x' cannot be a folder"),
    "sweep with another plan": (["launch", "--name", "taken"], "sweep 'taken' exists with another plan"),
    "MLflow server missing": (["launch", "--tracking-uri", "http://127.0.0.1:9"], "cannot reach the MLflow server"),
    "MLflow file store": (["launch", "--tracking-uri", "file:///tmp/mlruns"], "sqlite:///"),
    "data missing": (["launch", "--grid", "full"], "unpack both in"),
    "status of an unknown sweep": (["status", "nothing"], "unknown sweep 'nothing'"),
    "unknown analysis": (
        ["analyze", "one-sided", "--only", "layerz"],
        "unknown analysis 'layerz'. Did you mean 'layers'",
    ),
    "bad setting of an analysis": (
        ["analyze", "one-sided", "--set", "layers.max_images=none"],
        "--set layers.max_images='none': Input should be a valid integer",
    ),
    "analysis without pairs": (
        ["analyze", "one-sided"],
        "nothing to analyze: no pair is done. Launch a grid with both",
    ),
    "resume of an unknown sweep": (["resume", "nothing"], "unknown sweep 'nothing'"),
    "stop of an unknown sweep": (["stop", "nothing"], "unknown sweep 'nothing'"),
    "report without any sweep": (["report", "--storage", "empty"], "start one with `dptq-sweep launch`"),
}


@pytest.mark.parametrize("arguments", [pytest.param(v, id=k) for k, v in BAD_INPUT.items()])
def test_bad_input_is_one_line_and_exit_code_1(run: Run, tmp_path: Path, arguments: tuple[list[str], str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.yaml").write_text("name: bad\npair: {robust: {marginn: 0.1}}")
    (tmp_path / "edited.yaml").write_text("name: taken\nbase: quick\nbudgets: [{bits: 82}]")
    Sweep(Store(str(tmp_path / "dptq-sweeps")), "taken").folder.write_json("plan.json", {"schema": 1, "uids": ["x"]})
    one_sided = build_plan(build_grid("quick", Choices(goals=("robust",)), lambda _: 15), lambda _: 15)
    Sweep(Store(str(tmp_path / "dptq-sweeps")), "one-sided").save_plan(one_sided)
    code, out, err = run(*arguments[0])
    assert code == 1
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert arguments[1] in err
    assert "Traceback" not in out + err
    assert "secret" not in out + err


BAD_RESUMES = {
    "nothing to stop": (["stop", "mine"], "nothing is at work on sweep 'mine': there is nothing to stop."),
    "unknown uid": (["resume", "mine", "--only", "zz"], "unknown uid 'zz'."),
    "empty uid": (["resume", "mine", "--restart", ""], "unknown uid ''."),
    "parent of finished trials": (
        ["resume", "mine", "--restart", PLAN.nodes[0].uid],
        "1 trials were trained from what is to be restarted, such as distill/test_resnet: restart them too",
    ),
    "torn result": (
        ["resume", "mine"],
        f"1 trials of sweep 'mine' are damaged, and nothing was started: train them again with `dptq-sweep resume mine "
        f"--restart {PLAN.nodes[1].uid}",
    ),
}


@pytest.mark.parametrize(("arguments", "line"), BAD_RESUMES.values(), ids=BAD_RESUMES)
def test_what_cannot_be_resumed_is_one_line_and_changes_nothing(
    run: Run, tmp_path: Path, arguments: list[str], line: str
) -> None:
    sweep = Sweep(Store(str(tmp_path / "dptq-sweeps")), "mine")
    sweep.save_plan(PLAN)
    for node in PLAN.nodes[:2]:
        trial_of(sweep.store, node).write_result({}, {}, seconds=1.0, data_sha256="d")
    if line.startswith("1 trials of"):
        trial_of(sweep.store, PLAN.nodes[1]).folder.write_bytes(RESULT, b"{")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    code, _, err = run(*arguments)
    assert code == 1
    assert err.startswith(f"Error: {line}")
    assert err.count("\n") == 1
    assert before.items() <= {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}.items()


@pytest.mark.parametrize(
    "arguments",
    [["plan", "--sed", "1"], ["plan", "--seed", "-1"], ["plan", "--budget", "many"], ["lunch"], ["ui", "--port", "0"]],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback" not in err


def test_debug_shows_the_traceback(run: Run) -> None:
    code, _, err = run("--debug", "plan", "--grid", "quik")
    assert code == 1
    assert "Traceback" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert len(out.splitlines()) > 5
