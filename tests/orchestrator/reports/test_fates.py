"""What is said of a sweep whose trials came to every end: done, pruned, diverged, failed, skipped and confirmed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.analyses.tasks import checksums_of, tasks_of
from orchestrator.cli.sweep.report import command as report
from orchestrator.cli.sweep.status import command as status
from orchestrator.plan import Node, Origin
from orchestrator.progress.plan import plan_as_json
from orchestrator.reports.search.sections import search_files, searches_of
from orchestrator.reports.summary import progress, trouble_table
from orchestrator.reports.table1 import table1
from orchestrator.results.pairs import pair_records
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import standing_of
from orchestrator.results.trials import Trial, read_trials
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from search_spaces.analyses import ANALYSES
from search_spaces.errors import NonFiniteLossError
from tests.orchestrator.made_up import raised
from tests.orchestrator.search_driver import SearchDriver, search_plan

PLAN = search_plan(goals=("robust", "detrimental"), trials=3, confirm_seeds=2, pruner="halving")
FOUND = (0.0, 0.6)
"""The pair of 60 bits in its first trial, and of 82 bits in its third."""
PRUNED = (0.5, 0.1)


def fate(node: Node) -> tuple[float, float]:
    """Confirmations drop more than what they confirm, so that whoever takes one for a trial of its cell is noticed."""
    name = node.name.removeprefix("pair/test_resnet/I/").replace("/seed0", "").replace("/detrimental", "")
    fates: dict[str, tuple[float, float] | Exception] = {
        "60b": FOUND,
        "82b/trial2": PRUNED,
        "82b/trial3": FOUND,
        "82b/confirm2": ValueError("a bad seed"),
        "105b/robust": KeyError("layer4"),
        "105b/trial2": NonFiniteLossError("the loss became nan"),
        "105b/trial3": RuntimeError("out of luck\nand of patience"),
        "105b/trial4": PRUNED,
    }
    found = fates.get(name, (0.0, 0.9) if node.is_confirmation else (0.002, 0.003) if "robust" in name else (0.04, 0.3))
    if isinstance(found, Exception):
        raise raised(found)
    return found


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep, run to its end."""
    folder = tmp_path_factory.mktemp("fates")
    sweep = Sweep(Store(str(folder / "storage")), "fates")
    sweep.save_plan(PLAN)
    sweep.save_launch(LaunchOptions())
    SearchDriver(PLAN, sweep.store, folder / "studies.log", fate).run()
    return sweep


@pytest.fixture(scope="module")
def trials(sweep: Sweep) -> tuple[Trial, ...]:
    return read_trials(Snapshot(PLAN, sweep.store))


def names(nodes: Any) -> list[str]:
    return [node.name.removeprefix("pair/test_resnet/I/").replace("/seed0", "") for node in nodes]


def as_json(command: Any, sweep: Sweep) -> Any:
    return json.loads(CliRunner().invoke(command, ["fates", "--storage", sweep.store.uri, "--json"]).output)


def on_disk(sweep: Sweep, file: str) -> set[str]:
    """Uids of the pairs that have a file."""
    return {path.parent.name for path in Path(sweep.store.uri, "pair").glob(f"*/{file}")}


def test_every_end_is_among_the_trials_and_status_counts_what_lies_on_disk(sweep: Sweep) -> None:
    found = as_json(status, sweep)["counts"]["pair"]

    pairs = {node.uid for node in PLAN.nodes if node.cell}
    done, pruned, failed = (on_disk(sweep, file) for file in ("result.json", "pruned.json", "error.txt"))
    assert (found["done"], found["pruned"]) == (len(done), len(pruned))
    assert (found["failed"], found["diverged"]) == (len(failed) - 1, 1)
    assert found["skipped"] == len(pairs - done - pruned - failed)
    assert min(found.values()) > 0


def test_pairs_of_json_are_what_the_cells_have_and_no_confirmation_is_one(sweep: Sweep) -> None:
    pairs = as_json(report, sweep)["pairs"]

    done = [node for node in PLAN.nodes if node.uid in on_disk(sweep, "result.json")]
    confirmations = [node for node in done if node.name.rpartition("/")[2].startswith("confirm")]
    assert names(confirmations) == ["60b/detrimental/confirm1", "82b/detrimental/confirm1", "60b/detrimental/confirm2"]
    assert [pair["uid"] for pair in pairs] == [node.uid for node in done if node not in confirmations]
    assert {pair["origin"] for pair in pairs} == {"recipe", "as-published", "searched"}
    assert {pair["seed"] for pair in pairs} == {0}


def test_confirmations_are_told_from_trials_in_json_and_in_the_files_of_the_search(
    sweep: Sweep, trials: tuple[Trial, ...]
) -> None:
    planned = plan_as_json(PLAN, Snapshot(PLAN, sweep.store).states)["nodes"]
    confirmed = {node["name"] for node in planned if node["origin"] == "confirmed"}
    assert confirmed == {node["name"] for node in planned if "/confirm" in node["name"]}
    assert len(confirmed) == 3 * 2
    searches = {each["cell"].split("/")[2]: each for each in as_json(status, sweep)["searches"]}
    assert {level: each["num_seeds"] for level, each in searches.items()} == {"60b": 3, "82b": 2, "105b": None}
    assert {level: each["pair_trial"] for level, each in searches.items()} == {"60b": 0, "82b": 3, "105b": None}
    found = searches_of(PLAN, trials)
    assert found is not None
    table = search_files(found)["search_trials"].set_index("uid")
    ran = {trial.node.uid: trial.node for trial in trials if trial.node.uid in table.index}
    assert {uid: node.is_confirmation for uid, node in ran.items()} == table["is_confirmation"].to_dict()
    assert Counter(table["state"]) == {"done": 11, "failed": 3, "pruned": 2}


def test_no_confirmation_is_analyzed_whatever_an_analysis_asks_for(sweep: Sweep) -> None:
    snapshot = Snapshot(PLAN, sweep.store)
    for analysis in ANALYSES.values():
        tasks, _ = tasks_of(pair_records(snapshot), [analysis], checksums_of(snapshot))
        subjects = [record for task in tasks for record in task.subjects]
        assert subjects
        assert not [record.name for record in subjects if "confirm" in record.name]
        detrimental = {record.name.split("/", 3)[3] for record in subjects if record.goal == "detrimental"}
        if not analysis.every_trial:
            # Of 105 bits, whose robust pair failed, only what needs no robust one.
            stands = {"60b/detrimental/seed0", "82b/detrimental/seed0/trial3"}
            assert stands <= detrimental <= stands | {"105b/detrimental/seed0"}


def test_best_pairs_are_trials_of_the_cells(sweep: Sweep) -> None:
    best = as_json(status, sweep)["best_by_cell"]
    assert {pair["name"].removeprefix("pair/test_resnet/I/").replace("/seed0", "") for pair in best.values()} == {
        *("60b/robust", "82b/robust", "60b/detrimental", "82b/detrimental/trial3", "105b/detrimental"),
    }


def test_cell_is_done_whatever_was_pruned_skipped_or_failed_to_confirm_and_not_where_a_trial_failed(
    trials: tuple[Trial, ...],
) -> None:
    table = table1(PLAN, trials).set_index("budget_level")

    assert table["detrimental_state"].to_dict() == {
        "60b": "done",
        "82b": "done",
        "105b": "4 of 6 trials done, 2 failed",
    }
    assert table["robust_state"].to_dict() == {"60b": "done", "82b": "done", "105b": "failed"}
    # The trials that were begun, and those of them that have a pair.
    assert table["num_trials"].to_dict() == {"60b": 1, "82b": 4, "105b": 7}
    assert table["num_trials_done"].to_dict() == {"60b": 1, "82b": 3, "105b": 4}
    assert table["chosen_trial"].to_dict() == {"60b": 0, "82b": 3, "105b": 0}
    assert set(table["verdict"]) == {"parity lost"}, "the verdict is on the test split, where none holds"


def test_report_lists_what_failed_with_the_first_line_of_its_error_and_nothing_that_was_pruned(
    sweep: Sweep,
    trials: tuple[Trial, ...],
) -> None:
    rows = {row[0].text.removeprefix("pair/test_resnet/I/"): row[1:] for row in trouble_table(PLAN, trials).rows}

    assert {name: (state.text, reason.text) for name, (state, reason) in rows.items()} == {
        "82b/detrimental/seed0/confirm2": ("failed", "ValueError: a bad seed"),
        "105b/robust/seed0": ("failed", "KeyError: 'layer4'"),
        "105b/detrimental/seed0/trial2": ("failed", "NonFiniteLossError: the loss became nan"),
        "105b/detrimental/seed0/trial3": ("failed", "RuntimeError: out of luck"),
    }
    counts = Counter(trial.state for trial in trials)
    assert counts[State.FAILED] == 4
    done = counts[State.DONE] + counts[State.PRUNED]
    told = progress(PLAN, standing_of(Snapshot(PLAN, sweep.store), sweep.folder))
    assert told.startswith(f"Complete with failures: {done} of {done + 4} trials done, 4 failed, ")


def test_confirmations_are_of_nodes_that_the_plan_calls_so() -> None:
    assert [node.origin for node in PLAN.nodes if node.is_confirmation] == [Origin.CONFIRMED] * 6
