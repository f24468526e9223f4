"""What the script promises whatever its sections do: it ends in time, loses nothing, and goes on when called again."""

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gpu import conduct, jobs, misbehaving
from tests.gpu.child import is_settled
from tests.gpu.jobs import SECTIONS, Job, Section
from tests.gpu.record import DONE, FAILED, RUNNING, STOPPED, UNFINISHED, Outcome, Record
from tests.waiting import is_running, wait_until, wait_until_gone

ROOT = Path(__file__).resolve().parents[2]
MISBEHAVING = Section(name="misbehaving", module="tests.gpu.misbehaving", seconds=100)


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., Record]:
    """Runs sections as a call of the script does."""

    def run(*sections: Section, name: str = "1", seconds: float = 200.0) -> Record:
        record = Record(tmp_path / "work")
        options = Namespace(
            bring=tmp_path / "bring", work=tmp_path / "work", folder=tmp_path / "out", limits={}, tiny=True
        )
        conduct.run_sections(sections, record, call=name, end=time.time() + seconds, options=options)
        return record

    return run


@pytest.mark.slow
def test_items_that_fail_crash_or_hang_take_no_other_along_and_a_second_call_goes_on(
    call: Callable[..., Record], tmp_path: Path
) -> None:
    first = {each.item: each for each in call(MISBEHAVING)}
    assert {name: each.status for name, each in first.items()} == {
        "first": DONE,
        "raises": FAILED,
        "second": DONE,
        "crashes": STOPPED,
        "third": DONE,
        "hangs": STOPPED,
        "fourth": DONE,
        "needs more time": UNFINISHED,
    }
    assert first["raises"].error == "ValueError: on purpose"
    assert "crashed (-11)" in first["crashes"].error
    assert "limit 2 s" in first["hangs"].error
    assert first["second"].result != first["third"].result, "a crash is followed by a fresh process"
    # What hung is gone, with what it started.
    hung = [int(process) for process in (tmp_path / "work/pids").read_text().split()]
    assert [process for process in hung if is_running(process)] == []
    page = (tmp_path / "out/results.md").read_text()
    assert "misbehaving/hangs | stopped" in page
    kept = json.loads((tmp_path / "out/results.json").read_text())["outcomes"]
    assert len(kept) == len(first)

    second = {each.item: each for each in call(MISBEHAVING, name="2")}
    assert {name for name, each in second.items() if each.call == "1"} == {"first", "second", "third", "fourth"}
    assert second["needs more time"].result == {"share": 1.0}
    assert second["needs more time"].status == DONE


@pytest.mark.slow
def test_a_section_that_cannot_start_is_one_failure_and_the_next_one_runs(call: Callable[..., Record]) -> None:
    broken = Section(name="broken", module="tests.gpu.nowhere", seconds=60)
    record = call(broken, Section(name="figures", module="tests.gpu.sections.figures", seconds=60))
    found = {each.key: each for each in record}
    assert found["broken/start"].status == FAILED
    assert "nowhere" in found["broken/start"].error
    assert any(key.startswith("figures/") for key in found)


@pytest.mark.slow
def test_the_call_ends_in_time_although_a_section_hangs_before_its_first_item(
    call: Callable[..., Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "RESERVE_SECONDS", 1.0)
    Record(tmp_path / "work")
    (tmp_path / "work" / misbehaving.ENDLESS).touch()
    start = time.time()
    record = call(MISBEHAVING, seconds=10.0)
    assert 8.0 < time.time() - start < 10.0 + conduct.KILL_SECONDS + 2
    assert [(each.item, each.status) for each in record] == [("start", FAILED)]


@pytest.mark.slow
def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    script = f"""
import time
from argparse import Namespace
from pathlib import Path
from tests.gpu import conduct
from tests.gpu.jobs import Section
from tests.gpu.record import Record
work = Path({str(tmp_path)!r})
options = Namespace(bring=work, work=work, folder=work / "out", limits=dict(), tiny=True)
section = Section(name="m", module="tests.gpu.misbehaving", seconds=100)
conduct.run_sections([section], Record(work), call="1", end=time.time() + 200, options=options)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL)
    record = Record(tmp_path)
    try:
        wait_until(lambda: (found := record.find("m", "first")) and found.status != RUNNING, process=parent)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    found = record.find("m", "first")
    assert found is not None
    wait_until_gone([found.result["process"]])


def test_all_limits_fit_into_ten_minutes() -> None:
    reserve = conduct.RESERVE_SECONDS + conduct.KILL_SECONDS
    assert jobs.TOTAL_SECONDS + reserve < 600
    before_science = sum(section.seconds for section in SECTIONS if section.name not in ("science", "figures"))
    least = jobs.TOTAL_SECONDS - before_science - conduct.FIGURES_SECONDS - conduct.RESERVE_SECONDS
    assert least > 120, "science keeps two minutes even if every other section takes all of its time"


def outcome(**changes: object) -> Outcome:
    plain = {"section": "step", "item": "a", "status": DONE, "call": "1", "device": "H100, torch 2.11"}
    return Outcome(**(plain | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "section", "is_kept"),
    [
        ({}, "step", True),
        ({"device": "H200, torch 2.11"}, "step", False),
        ({"device": "H200, torch 2.11"}, "science", True),
        ({"status": FAILED}, "step", False),
        ({"status": FAILED, "call": "2"}, "step", True),
        ({"status": RUNNING}, "step", False),
        ({"status": UNFINISHED}, "science", False),
    ],
)
def test_a_later_call_keeps_what_is_done_on_this_device(
    changes: dict[str, str], section: str, is_kept: bool, tmp_path: Path
) -> None:
    (found,) = [each for each in SECTIONS if each.name == section]
    folders = {"brought": "", "work": "", "folder": ""}
    job = Job(section=found, call="2", deadline=0.0, is_tiny=False, **folders)
    assert is_settled(outcome(**changes), Job.from_json(job.to_json()), "H100, torch 2.11") == is_kept
    assert not is_settled(None, job, "H100, torch 2.11")


def test_results_that_travelled_along_are_taken_over_where_there_are_none_yet(tmp_path: Path) -> None:
    old, new = Record(tmp_path / "old"), Record(tmp_path / "new")
    old.write(outcome(item="a", seconds=1.0))
    old.write(outcome(item="b, with / a name"))
    old.publish(tmp_path / "previous")
    new.write(outcome(item="a", seconds=2.0))
    assert new.take_over(tmp_path / "previous") == 1
    assert {each.item: each.seconds for each in new} == {"a": 2.0, "b, with / a name": 0.0}
    assert new.take_over(tmp_path / "nowhere") == 0
