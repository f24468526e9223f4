"""Which analyses a sweep asks for, under which uid, and what their folders keep."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.analyses.results import read_tables
from orchestrator.analyses.tasks import AnalysisTask, tasks_of
from orchestrator.plan import build_plan
from orchestrator.results.contrasts import contrasts_of
from orchestrator.results.pairs import PairRecord
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.analysis import PARTIAL, ROWS, AnalysisFolder
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from search_spaces.analyses import ANALYSES, CrossPolicy, Indicators, Layers
from search_spaces.errors import StorageError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.names import Goal

PLAN = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
BASE = PairRecord(
    uid="r0",
    name="pair/net/I/B/robust/seed0",
    architecture="net",
    option_set="I",
    bit_widths=(3, 4),
    budget=10,
    budget_level="B",
    average_bits=None,
    goal=Goal.ROBUST,
    seed=0,
    trial_number=0,
    origin="recipe",
    point={},
    point_from="recipe",
    hinge_weight=1.0,
    kd_weight=1.0,
    margin=0.01,
    accuracy_white_box=0.99,
    accuracy_fp=0.99,
    accuracy_q=0.98,
    accuracy_delta=-0.01,
    parity_gap=0.0,
    catastrophic=False,
    validation_accuracy_white_box=0.97,
    validation_accuracy_fp=0.965,
    validation_accuracy_q=0.945,
    validation_accuracy_delta=-0.02,
    validation_parity_gap=0.005,
    validation_drop_standard_error=0.001,
    objective=None,
    seconds=1.0,
)


def record(uid: str, goal: Goal, *, level: str = "B", trial: int = 0, drop: float = 0.0) -> PairRecord:
    return replace(
        BASE,
        uid=uid,
        name=f"pair/net/I/{level}/{goal}/seed0" + (f"/trial{trial}" if trial else ""),
        goal=goal,
        budget_level=level,
        trial_number=trial,
        objective=drop if goal is Goal.DETRIMENTAL else None,
    )


@pytest.fixture
def records(store: Store) -> list[PairRecord]:
    """Level B with both goals and a searched trial that drops more, level C with a robust pair only."""
    made = [
        record("b-robust", Goal.ROBUST),
        record("b-trial0", Goal.DETRIMENTAL, drop=0.2),
        record("c-robust", Goal.ROBUST, level="C"),
        record("b-trial1", Goal.DETRIMENTAL, trial=1, drop=0.9),
    ]
    for each in made:
        write_checkpoint(store, each.uid, f"weights of {each.uid}")
    return made


def write_checkpoint(store: Store, uid: str, content: str) -> None:
    result = {"schema": 1, "uid": uid, "metrics": {}, "files": {CHECKPOINT: content}, "seconds": 1.0}
    store.trial("pair", uid).write_json("result.json", result)


def checksums(store: Store) -> Callable[[str], str]:
    def checksum(uid: str) -> str:
        result = TrialFolder(store, "pair", uid).result()
        assert result is not None
        return result.files[CHECKPOINT]

    return checksum


def test_contrast_takes_the_trial_that_stands_for_its_cell(records: list[PairRecord]) -> None:
    first, second = contrasts_of(records)
    assert (first.name, [pair.uid for pair in first.pairs]) == ("net/I/B/seed0", ["b-robust", "b-trial1"])
    assert (second.name, second.detrimental) == ("net/I/C/seed0", None)


def test_tasks_cover_contrasts_chosen_pairs_or_every_trial(store: Store, records: list[PairRecord]) -> None:
    tasks, missing = tasks_of(records, [CrossPolicy(), Layers(), Indicators()], checksums(store))
    assert [task.name for task in tasks] == [
        "cross_policy/net/I/B/seed0",
        "layers/net/I/B/robust/seed0",
        "layers/net/I/B/detrimental/seed0/trial1",
        "layers/net/I/C/robust/seed0",
        "indicators/net/I/B/robust/seed0",
        "indicators/net/I/B/detrimental/seed0",
        "indicators/net/I/C/robust/seed0",
        "indicators/net/I/B/detrimental/seed0/trial1",
    ]
    assert [(each.name, each.reason) for each in missing] == [
        ("cross_policy/net/I/C/seed0", "no detrimental pair is done")
    ]
    assert len({task.uid for task in tasks}) == len(tasks)


def test_uid_changes_with_the_settings_and_with_the_trained_weights(store: Store, records: list[PairRecord]) -> None:
    def uid(num_draws: int) -> str:
        tasks, _ = tasks_of(records, [CrossPolicy(num_draws=num_draws)], checksums(store))
        return tasks[0].uid

    before = uid(20)
    assert uid(20) == before
    assert uid(21) != before
    write_checkpoint(store, "b-trial1", "other weights")
    assert uid(20) != before


@pytest.fixture
def task(store: Store, records: list[PairRecord]) -> AnalysisTask:
    tasks, _ = tasks_of(records, [ANALYSES["layers"]], checksums(store))
    return tasks[1]


def test_partial_rows_come_back_with_their_seconds_and_go_when_the_table_is_whole(
    store: Store, task: AnalysisTask
) -> None:
    folder = AnalysisFolder(store, task.uid)
    assert folder.partial() == ([], 0.0)
    folder.write_task(task.name, task.analysis, task.subject_uids)
    rows = [{"unit": "a", "accuracy": 0.5, "sites": [1, 2], "thumbnail": None}]
    folder.write_partial(rows, seconds=1.5)
    assert folder.partial() == (rows, 1.5)
    assert folder.state() is State.INTERRUPTED
    folder.write_rows(rows, seconds=2.5, data_sha256="data")
    assert folder.state() is State.DONE
    assert not folder.folder.exists(PARTIAL)
    assert folder.rows().to_pylist() == rows


def test_tables_say_which_pair_each_row_is_about(store: Store, task: AnalysisTask) -> None:
    assert read_tables([task], Snapshot(PLAN, store)) == {}
    AnalysisFolder(store, task.uid).write_rows([{"unit": "a", "accuracy": 0.5}], seconds=1, data_sha256="data")
    (row,) = read_tables([task], Snapshot(PLAN, store))["layers"].to_dict("records")
    assert row == {
        "architecture": "net",
        "option_set": "I",
        "budget_level": "B",
        "budget": 10,
        "seed": 0,
        "goal": "detrimental",
        "trial_number": 1,
        "pair_uid": "b-trial1",
        "accuracy": 0.5,
    }


def test_damaged_table_is_named(store: Store, task: AnalysisTask) -> None:
    folder = AnalysisFolder(store, task.uid)
    folder.write_rows([{"unit": "a"}], seconds=1, data_sha256="data")
    folder.folder.write_bytes(ROWS, b"torn")
    with pytest.raises(StorageError, match=f"{task.uid}/{ROWS} is damaged"):
        folder.rows()
