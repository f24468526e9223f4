"""The whole script in its tiny form: every section runs on a CPU, so that none of it can rot until a GPU is there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.jobs import SECTIONS
from tests.gpu.record import DONE, FAILED, SKIPPED, STOPPED, UNFINISHED

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
FILES, FILE_BYTES = 8, 16 * 2**20
"""What a rented machine hands back at most."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of the results and of the state."""
    return tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def outcomes(folders: tuple[Path, Path]) -> list[dict[str, Any]]:
    """What one call found."""
    return run_tiny(*folders)


def run_tiny(out: Path, work: Path, *only: str) -> list[dict[str, Any]]:
    """Calls the script as on a GPU machine, with a package `tests` of somebody else's on the path."""
    foreign = work / "foreign"
    (foreign / "tests").mkdir(parents=True, exist_ok=True)
    (foreign / "tests/__init__.py").write_text("raise ImportError('not ours')\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DPTQ"))}
    done = subprocess.run(
        [sys.executable, "tests/gpu/run.py", "--tiny", "--minutes", "4", "--work", str(work), "--bring", str(work)]
        + (["--only", *only] if only else []),
        cwd=ROOT,
        env=environment | {"OUT": str(out), "PYTHONPATH": str(foreign), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads((out / "results.json").read_text())["outcomes"]
    return found


def test_every_section_runs_on_a_cpu_and_nothing_fails(outcomes: list[dict[str, Any]]) -> None:
    assert [each for each in outcomes if each["status"] in (FAILED, STOPPED, UNFINISHED)] == []
    assert {each["section"] for each in outcomes if each["status"] == DONE} == {section.name for section in SECTIONS}
    # Without a GPU only these are left out.
    skipped = {(each["section"], each["item"]) for each in outcomes if each["status"] == SKIPPED}
    assert skipped == {
        ("correctness", "pair triton"),
        ("correctness", "graphs"),
        ("correctness", "memory probe"),
        ("step", "test_resnet, quantizer triton"),
        ("step", "test_resnet, compiled"),
    }


def test_everything_that_is_checked_is_right(outcomes: list[dict[str, Any]]) -> None:
    checks = [each for each in outcomes if "is_right" in each["result"]]
    assert len(checks) > 10
    assert [each for each in checks if not each["result"]["is_right"]] == []


def test_a_rescaled_network_answers_the_same_to_the_last_bit(outcomes: list[dict[str, Any]]) -> None:
    (rows,) = [each["result"]["rows"] for each in outcomes if each["item"] == "rescaled"]
    assert len(rows) == 3
    assert {row["largest_difference_of_a_logit"] for row in rows} == {0.0}


def test_the_results_can_be_handed_back(outcomes: list[dict[str, Any]], folders: tuple[Path, Path]) -> None:
    files = list(folders[0].iterdir())
    assert {path.name for path in files} >= {"results.md", "results.json", "step.png", "packing.png", "curves.png"}
    assert len(files) <= FILES
    assert max(path.stat().st_size for path in files) <= FILE_BYTES


def test_the_page_shows_every_section(outcomes: list[dict[str, Any]], folders: tuple[Path, Path]) -> None:
    page = (folders[0] / "results.md").read_text()
    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert headings[:4] == ["Machine", "Correctness", "Roofline", "Steps of a pair"]
    assert set(headings) >= {"Trials side by side", "Decisions", "CIFAR-10, ResNet18", "The rescaled network"}
    assert "Fastest right variant of test_resnet" in page


def test_a_second_call_repeats_nothing_that_is_done(outcomes: list[dict[str, Any]], folders: tuple[Path, Path]) -> None:
    again = run_tiny(*folders)
    kept = [
        [each for each in found if each["status"] == DONE and each["section"] != "figures"]
        for found in (again, outcomes)
    ]
    assert kept[0] == kept[1]
    drawn = [{each["call"] for each in found if each["section"] == "figures"} for found in (again, outcomes)]
    assert drawn[0] != drawn[1]


def test_a_call_on_another_machine_goes_on_from_what_travelled_along(
    outcomes: list[dict[str, Any]], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    (work / "previous").mkdir(parents=True)
    for path in folders[0].iterdir():
        kept = json.loads(path.read_text()) if path.name == "results.json" else None
        if kept:
            # The pair was not trained yet: it needs the white box, whose parts came along.
            kept["outcomes"] = [each for each in kept["outcomes"] if each["item"] != "II-B detrimental"]
            (work / "previous" / path.name).write_text(json.dumps(kept))
        else:
            (work / "previous" / path.name).write_bytes(path.read_bytes())
    again = run_tiny(out, work, "science")
    keys = {(each["item"], each["call"]) for each in again if each["section"] == "science"}
    old = {(each["item"], each["call"]) for each in outcomes if each["section"] == "science"}
    assert [item for item, _ in keys - old] == ["II-B detrimental"]
