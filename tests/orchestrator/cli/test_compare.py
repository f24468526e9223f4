"""`compare` runs the arms that are asked for, each as a sweep, and leaves its page with one of them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.plan import Plan
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from search_spaces.stages.registry import Stage
from tests.orchestrator.reports.made_up_arms import finish

Compare = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Runs the command, whose launches make results up; returns exit code, all that it printed, and the sweeps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    launched: list[str] = []

    def launch_sweep(sweep: Sweep, plan: Plan, *others: Any, **settings: Any) -> SimpleNamespace:
        launched.append(sweep.name)
        for node in plan.nodes:
            if node.stage is Stage.PAIR:
                finish(sweep.store, node, ended_at=1000, drop=0.5)
        return SimpleNamespace(cap=settings["limits"].caps.max_hours, is_stopping=False, halted=None)

    def run_it(*arguments: str) -> tuple[int, str, list[str]]:
        launched.clear()
        with pytest.raises(SystemExit) as exit_info:
            main(["compare", "--grid", "quick", "--budget", "82", "--storage", "store", *arguments])
        printed = capsys.readouterr()
        return int(exit_info.value.code or 0), printed.out + printed.err, list(launched)

    monkeypatch.setattr("orchestrator.launch.driver.launch_sweep", launch_sweep)
    return run_it


def pages() -> set[str]:
    return {path.parent.name for path in Path("store").rglob("comparison.html")}


def test_the_arms_of_today_run_unless_others_are_named(compare: Compare) -> None:
    code, _, launched = compare("--name", "mine", "--search-trials", "2")
    assert code == 0
    assert launched == ["mine-as-published", "mine-recipe", "mine-random", "mine-search"]
    assert pages() == {"mine-search"}


def test_the_page_lies_with_an_arm_that_ran_and_shows_no_other(compare: Compare) -> None:
    code, printed, launched = compare("--name", "mine", "--arm", "gumbel", "--arm", "recipe", "--arm", "penalty")
    assert code == 0
    assert launched == ["mine-recipe", "mine-gumbel", "mine-penalty"]
    assert "the search" not in printed
    assert pages() == {"mine-penalty"}
    assert set(Store("store").root.folder("sweeps").names()) == set(launched), "no folder without a sweep"
    assert "Not done" not in Path("store/sweeps/mine-penalty/comparison.md").read_text()


def test_a_comparison_that_a_cap_ended_names_what_has_not_begun(compare: Compare) -> None:
    arms = ("--arm", "recipe", "--arm", "static")
    code, printed, launched = compare("--name", "mine", *arms, "--max-hours", "1")
    assert code == 0
    assert launched == ["mine-recipe"]
    assert "give the same command again" in printed
    assert "Not done: static allocation." in Path("store/sweeps/mine-recipe/comparison.md").read_text()
    _, _, launched = compare("--name", "mine", *arms)
    assert launched == ["mine-recipe", "mine-static"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--arm", "reinforce", "--set", "pair.train=[student]"), "Error: --arm reinforce: pair.train=['student']: "),
        (("--arm", "recipe", "--goal", "robust"), "Error: --arm recipe: no cell of grid quick is detrimental"),
    ],
)
def test_an_arm_that_cannot_run_ends_before_anything_is_written(
    compare: Compare, arguments: tuple[str, ...], line: str
) -> None:
    code, printed, launched = compare("--arm", "static", *arguments)
    assert (code, launched) == (1, [])
    assert printed.startswith(line)
    assert printed.count("\n") == 1
    assert not Path("store").exists()


def test_the_old_name_says_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["compare-search", "--grid", "families"])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "Error: `compare-search` is called `compare` now. See `dptq-sweep --help`.\n"
