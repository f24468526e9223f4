"""`dptq-sweep cluster render`, `validate`, `copy-data`, and every command that rendered files tell people to type."""

import re
from pathlib import Path

import pytest

from cluster.files.render import KINDS, ClusterOptions, render
from orchestrator.cli.main import main
from tests.command_lines import parse_command

BUCKET = ("--bucket", "s3://my-bucket/dptq", "--project", "my-project")
COMMANDS = {
    (kind, command.strip().rstrip("`)."))
    for kind in KINDS
    for command in re.findall(
        r"dptq-sweep (?:cluster|launch|status|stop|plan)[^`\n#>&\"']*",
        render(kind, ClusterOptions(bucket="s3://my-bucket/dptq", project="my-project")),
    )
}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exited:
        main(list(arguments))
    return int(exited.value.code or 0)


@pytest.mark.parametrize(("kind", "command"), sorted(COMMANDS))
def test_commands_in_rendered_files_parse(kind: str, command: str) -> None:
    parse_command(command)


@pytest.mark.parametrize("kind", KINDS)
def test_every_rendered_file_speaks_of_commands(kind: str) -> None:
    assert [command for named, command in COMMANDS if named == kind] or kind == "dockerfile"


@pytest.mark.parametrize("kind", KINDS)
def test_rendered_files_validate(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    assert run("cluster", "render", kind, *BUCKET, "-o", str(path)) == 0
    assert f"wrote {path}; next: dptq-sweep cluster validate {path}" in capsys.readouterr().out
    assert run("cluster", "validate", str(path)) == 0
    assert capsys.readouterr().out.endswith("nothing to complain about\n")


def test_without_a_file_the_text_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cluster", "render", "aws", *BUCKET) == 0
    assert capsys.readouterr().out == render("aws", ClusterOptions(bucket="s3://my-bucket/dptq"))


def test_a_file_that_exists_is_replaced_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "aws.yaml"
    path.write_text("mine")
    assert run("cluster", "render", "aws", *BUCKET, "-o", str(path)) == 1
    assert path.read_text() == "mine"
    assert "pass --force to replace it" in capsys.readouterr().err
    assert run("cluster", "render", "aws", *BUCKET, "-o", str(path), "--force") == 0
    assert path.read_text().startswith("# Ray cluster on Amazon Web Services")


def test_findings_are_one_line_each_and_exit_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "aws.yaml"
    text = render("aws", ClusterOptions(bucket="s3://my-bucket/dptq"))
    path.write_text(text.replace("region:", "regoin:").replace("idle_timeout_minutes: 5", "idle_timeout_minutes: 1"))
    assert run("cluster", "validate", str(path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_the_sweep_of_a_job_is_checked_now(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cluster", "render", "rayjob", *BUCKET, "--", "launch", "--grid", "full", "--seed", "1") == 0
    assert 'entrypoint: "dptq-sweep launch --grid full --seed 1"' in capsys.readouterr().out
    assert run("cluster", "render", "slurm", *BUCKET, "--", "launch", "--gird", "full") == 2
    assert "No such option" in capsys.readouterr().err
    assert run("cluster", "render", "rayjob", *BUCKET, "--", "report") == 1
    assert "'report' cannot begin a sweep" in capsys.readouterr().err
    assert run("cluster", "render", "aws", *BUCKET, "--", "launch") == 1
    assert "carries no sweep" in capsys.readouterr().err


def test_copy_data_needs_data_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing, target = str(tmp_path / "none"), str(tmp_path / "target")
    assert run("cluster", "copy-data", nothing, target) == 1
    assert "there are no files at" in capsys.readouterr().err
    assert run("cluster", "copy-data", "--optional", nothing, target) == 0
    assert "copied 0 files" in capsys.readouterr().out


def test_the_environment_of_a_cluster_stands_in_for_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.cli.sweep.launch import command

    monkeypatch.setenv("DPTQ_STORAGE", str(tmp_path / "store"))
    monkeypatch.setenv("DPTQ_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DPTQ_ADDRESS", "auto")
    monkeypatch.setenv("DPTQ_TRACKING_URI", "http://mlflow:5000")
    given = command.make_context("launch", []).params
    assert [str(given[name]) for name in ("storage", "data_dir", "address", "tracking_uri")] == [
        str(tmp_path / "store"),
        str(tmp_path / "data"),
        "auto",
        "http://mlflow:5000",
    ]
    typed = command.make_context("launch", ["--storage", "s3://other/place"]).params
    assert typed["storage"] == "s3://other/place"
