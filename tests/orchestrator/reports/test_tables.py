"""Records, Table 1 and the rule that chooses a pair: numbers computed by hand on hand-made stores."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.reports.figures import figure_table1
from orchestrator.reports.summary import table1_text
from orchestrator.reports.table1 import table1
from orchestrator.reports.terminal import render
from orchestrator.results.pairs import pair_records, verdict
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import read_curve, read_trials
from orchestrator.search.pair_choice import choose
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.errors import NonFiniteLossError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.paper import NUM_SITES
from search_spaces.stages.registry import Stage

SEARCH = {"keep_searching": True, "start_points": ("recipe",)}
# White box, full precision, quantized.
Accuracies = tuple[float, float, float]
ROBUST: Accuracies = (0.99, 0.985, 0.98)
BROKEN: Accuracies = (0.99, 0.985, 0.125)
IN_PERCENT = "98.50"


@pytest.fixture
def plan() -> Plan:
    # With a search that skips no trial.
    return build_plan(build_grid("quick", Choices(search={"keep_searching": True}), num_sites), num_sites)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def num_sites(architecture: str) -> int:
    return NUM_SITES.get(architecture, 15)


def pair(plan: Plan, level: str, goal: str, trial: int = 0) -> Node:
    wanted = (level, goal, trial)
    pairs = ((node, node.cell) for node in plan.nodes if node.cell)
    return next(node for node, cell in pairs if (cell.budget_level, cell.goal, node.trial_number) == wanted)


def write_recipe(store: Store, node: Node, **point: float) -> None:
    trial_of(store, node).write_recipe(node, point or None)


def write_result(store: Store, node: Node, metrics: dict[str, float]) -> None:
    result = {"schema": 1, "uid": node.uid, "stage": node.stage, "metrics": metrics, "files": {}, "seconds": 45.5}
    store.trial(node.stage, node.uid).write_json("result.json", result)


def write_pair(
    store: Store,
    node: Node,
    test: Accuracies | None = None,
    validation: Accuracies | None = None,
    *,
    noise: float = 0.0,
    **point: float,
) -> None:
    """Finishes a pair; `noise` is that of the drop on validation. A split that is not given has other numbers."""
    write_recipe(store, node, **point)
    metrics: dict[str, float] = {}
    splits = {"test": test or other_split(validation), "validation": validation or other_split(test)}
    for split, accuracies in splits.items():
        names = ("accuracy_white_box", "accuracy_fp", "accuracy_q")
        metrics |= {f"{split}/{name}": value for name, value in zip(names, accuracies, strict=True)}
        metrics[f"{split}/drop_standard_error"] = noise if split == "validation" else 0.37
    write_result(store, node, metrics)


def other_split(accuracies: Accuracies | None) -> Accuracies:
    """Other numbers throughout, with parity and a drop that are about the same."""
    assert accuracies is not None
    white_box, fp, q = accuracies
    return white_box - 0.03, fp - 0.034, q + 0.015


def row_of(plan: Plan, store: Store, level: str) -> pd.Series:
    table = table1(plan, read_trials(Snapshot(plan, store)))
    return table[table["budget_level"] == level].iloc[0]


@pytest.mark.parametrize(
    ("white_box", "fp", "q", "expected"),
    [
        (0.99, 0.98, 0.88, "catastrophic"),
        (0.99, 0.98, 0.8801, "partial drop"),
        (0.99, 0.98, 0.97, "no drop"),
        (0.99, 0.98, 0.999, "no drop"),
        (0.99, 0.979, 0.5, "drops, parity lost"),
        (0.99, 0.19, 0.195, "parity lost"),
        (0.99, 1.0, 0.9, "catastrophic"),
    ],
)
def test_verdict_follows_two_thresholds(white_box: float, fp: float, q: float, expected: str) -> None:
    assert verdict(accuracy_white_box=white_box, accuracy_fp=fp, accuracy_q=q) == expected


def test_record_holds_the_figures_of_both_splits_and_the_resolved_point(plan: Plan, store: Store) -> None:
    node = pair(plan, "B", "detrimental", trial=2)
    point = {"hinge_weight": 2.5, "kd_weight": 0.75, "margin": 0.125}
    write_pair(store, node, (0.75, 0.625, 0.25), (0.75, 0.75, 0.5), **point)

    (record,) = pair_records(Snapshot(plan, store))

    assert record.uid == node.uid
    assert (record.architecture, record.option_set) == ("test_resnet", "I")
    assert (record.budget, record.budget_level) == (82, "B")
    assert (record.hinge_weight, record.kd_weight, record.margin) == (2.5, 0.75, 0.125)
    assert (record.accuracy_delta, record.parity_gap, record.catastrophic) == (-0.375, 0.125, False)
    assert (record.validation_accuracy_delta, record.validation_parity_gap) == (-0.25, 0.0)
    assert record.objective == 0.25
    assert (record.trial_number, record.seconds, record.average_bits) == (2, 45.5, 5.5)


def test_records_are_plain_json_with_the_promised_keys(plan: Plan, store: Store) -> None:
    write_pair(store, pair(plan, "A", "robust"), ROBUST)
    write_pair(store, pair(plan, "A", "detrimental"), BROKEN)

    records = [record.as_json() for record in pair_records(Snapshot(plan, store))]
    pairs = json.loads(json.dumps(records, allow_nan=False))

    promised = "uid architecture option_set budget goal seed accuracy_white_box accuracy_fp accuracy_q"
    assert {*promised.split(), "accuracy_delta", "parity_gap", "catastrophic"} <= set(pairs[0])
    assert [entry["goal"] for entry in pairs] == ["robust", "detrimental"]
    assert [entry["catastrophic"] for entry in pairs] == [False, True]
    assert pairs[0]["objective"] is None
    assert pairs[0]["bit_widths"] == list(range(3, 11))


def test_table_row_is_what_one_computes_by_hand(plan: Plan, store: Store) -> None:
    write_pair(store, pair(plan, "A", "robust"), ROBUST)
    write_pair(store, pair(plan, "A", "detrimental"), BROKEN)

    row = row_of(plan, store, "A")

    assert (row["architecture"], row["option_set"], row["bit_widths"]) == ("test_resnet", "I", "3..10")
    assert (row["budget"], row["average_bits"], row["seed"]) == (60, 4.0, 0)
    assert row["accuracy_white_box"] == 0.99
    assert row["robust_accuracy_fp"] == 0.985
    assert row["robust_accuracy_delta"] == pytest.approx(-0.005)
    assert row["detrimental_accuracy_delta"] == pytest.approx(-0.86)
    assert row["detrimental_parity_gap"] == pytest.approx(0.005)
    assert (row["verdict"], row["robust_state"], row["detrimental_state"]) == ("catastrophic", "done", "done")
    assert (row["num_trials"], row["chosen_trial"], row["margin"]) == (1, 0, 0.01)


def test_choice_ignores_a_trial_that_is_better_on_test_only(plan: Plan, store: Store) -> None:
    write_pair(store, pair(plan, "B", "detrimental"), (0.99, 0.99, 0.50), (0.99, 0.99, 0.40))
    write_pair(store, pair(plan, "B", "detrimental", 1), (0.99, 0.99, 0.05), (0.99, 0.99, 0.45), margin=0.3)

    row = row_of(plan, store, "B")

    assert (row["chosen_trial"], row["num_trials_done"], row["num_trials"]) == (0, 2, 5)
    assert row["detrimental_accuracy_delta"] == pytest.approx(-0.49)
    assert row["detrimental_state"] == "2 of 5 trials done"


def test_choice_prefers_parity_on_validation_over_a_better_objective(plan: Plan, store: Store) -> None:
    # Trial 1 scores 0.90 - 10 * 0.01 = 0.80 but gives itself away; trial 2 keeps parity and scores 0.30 only.
    write_pair(store, pair(plan, "B", "detrimental", 1), (0.99, 0.99, 0.05), (0.99, 0.97, 0.07))
    write_pair(store, pair(plan, "B", "detrimental", 2), (0.99, 0.95, 0.65), (0.99, 0.98, 0.68))

    row = row_of(plan, store, "B")

    assert row["chosen_trial"] == 2
    assert row["verdict"] == "drops, parity lost"


def test_choice_falls_back_to_the_objective_and_then_to_the_earliest_trial(plan: Plan, store: Store) -> None:
    for trial, q in ((1, 0.5), (2, 0.1), (3, 0.1)):
        write_pair(store, pair(plan, "B", "detrimental", trial), validation=(0.99, 0.9, q))

    chosen = choose(pair_records(Snapshot(plan, store)))

    assert chosen is not None
    assert chosen.trial_number == 2
    assert choose([]) is None


@pytest.mark.parametrize(("noise", "expected"), [(0.0, 2), (0.01, 2), (0.02, 1), (0.2, 0)])
def test_choice_at_equal_parity_is_the_earliest_trial_not_significantly_below_the_best(
    plan: Plan, store: Store, noise: float, expected: int
) -> None:
    # Drops 0.80, 0.90, 0.94: the best leads by 0.14 and 0.04, to be compared with 1.96 * sqrt(2) * noise.
    for trial, q in ((0, 0.19), (1, 0.09), (2, 0.05)):
        write_pair(store, pair(plan, "B", "detrimental", trial), validation=(0.99, 0.99, q), noise=noise)

    chosen = choose(pair_records(Snapshot(plan, store)))

    assert chosen is not None
    assert chosen.trial_number == expected


def test_choice_between_drops_that_nobody_can_tell_apart_takes_the_smallest_parity_gap(
    plan: Plan, store: Store
) -> None:
    for trial, fp, q in ((0, 0.985, 0.08), (1, 0.99, 0.10), (2, 0.99, 0.09), (3, 0.995, 0.60)):
        write_pair(store, pair(plan, "B", "detrimental", trial), validation=(0.99, fp, q), noise=0.02)

    chosen = choose(pair_records(Snapshot(plan, store)))

    assert chosen is not None
    # Trial 3 has the smallest gap of all, but its drop of 0.395 is far below the best one.
    assert chosen.trial_number == 1


def test_empty_sweep_has_all_rows_blank_and_waiting(plan: Plan, store: Store) -> None:
    table = table1(plan, read_trials(Snapshot(plan, store)))

    assert list(table["budget_level"]) == ["A", "B", "C"]
    # As table1.csv has them, which people read with their own programs.
    assert list(table.columns) == [
        *("architecture", "option_set", "bit_widths", "budget_level", "budget", "average_bits", "seed"),
        *("white_box_seed", "accuracy_white_box", "robust_accuracy_fp", "robust_accuracy_delta"),
        *("detrimental_accuracy_fp", "detrimental_accuracy_delta", "detrimental_parity_gap", "verdict"),
        *("evidence", "num_images", "images_needed"),
        *("parity_gap_low", "parity_gap_high", "drop_low", "drop_high"),
        *("validation_accuracy_delta", "validation_parity_gap"),
        *("robust_state", "detrimental_state", "num_trials", "num_trials_done", "chosen_trial", "chosen_uid"),
        *("hinge_weight", "kd_weight", "margin"),
        *("paper_white_box", "paper_robust_accuracy_fp", "paper_robust_accuracy_delta"),
        *("paper_detrimental_accuracy_fp", "paper_detrimental_accuracy_delta", "paper_detrimental_parity_gap"),
        "paper_verdict",
    ]
    assert table["accuracy_white_box"].isna().all()
    assert set(table["robust_state"]) == set(table["detrimental_state"]) == {"waiting"}
    assert set(table["verdict"]) == {""}


def test_states_tell_failed_unfinished_blocked_and_damaged_trials_apart(plan: Plan, store: Store) -> None:
    failed, unfinished, damaged = (pair(plan, level, "robust") for level in "ABC")
    write_recipe(store, failed)
    trial_of(store, failed).write_error(NonFiniteLossError("loss is nan\nin epoch 3"))
    write_recipe(store, unfinished)
    trial_of(store, unfinished).write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 1}], b"state")
    write_recipe(store, damaged)
    write_result(store, damaged, {"test/accuracy_fp": float("nan")})
    distill = next(node for node in plan.nodes if node.stage is Stage.DISTILL)
    store.trial("distill", distill.uid).write_bytes("error.txt", b"")

    trials = {trial.node.uid: trial for trial in read_trials(Snapshot(plan, store))}

    assert trials[failed.uid].state is State.FAILED
    assert trials[failed.uid].reason == r"NonFiniteLossError: loss is nan\nin epoch 3"
    assert trials[unfinished.uid].state is State.INTERRUPTED
    assert trials[damaged.uid].state is State.FAILED
    assert "no finite validation/accuracy_white_box" in trials[damaged.uid].reason
    blocked = trials[pair(plan, "A", "detrimental").uid]
    assert (blocked.state, blocked.reason) == (State.BLOCKED, "needs distill/test_resnet, which is failed")
    assert pair_records(Snapshot(plan, store)) == []


def test_unreadable_json_is_a_failed_trial_not_a_crash(plan: Plan, store: Store) -> None:
    node = pair(plan, "A", "robust")
    store.trial("pair", node.uid).write_bytes("result.json", b'{"schema": 1, "metr')

    assert row_of(plan, store, "A")["robust_state"] == "failed"


def test_white_box_shows_before_any_pair_is_done(plan: Plan, store: Store) -> None:
    node = next(node for node in plan.nodes if node.stage is Stage.DISTILL)
    write_result(store, node, {"test/accuracy": 0.875})

    assert row_of(plan, store, "C")["accuracy_white_box"] == 0.875


def test_paper_numbers_stand_beside_the_papers_cells_only(plan: Plan, store: Store) -> None:
    full = build_plan(build_grid("full", Choices(architectures=["resnet18"]), num_sites), num_sites)
    digits = Choices(dataset="digits", architectures=["resnet18"])
    on_digits = build_plan(build_grid("full", digits, num_sites), num_sites)
    one_budget = Choices(architectures=["resnet18"], budgets=[110])
    custom = build_plan(build_grid("full", one_budget, num_sites), num_sites)

    table = table1(full, read_trials(Snapshot(full, store))).set_index(["option_set", "budget_level"])

    row = table.loc[("II", "B")]
    assert (row["paper_white_box"], row["paper_robust_accuracy_fp"]) == (0.8803, 0.8817)
    assert row["paper_detrimental_accuracy_fp"] == 0.8809
    assert row["paper_detrimental_accuracy_delta"] == -0.2439
    assert (table["paper_verdict"] == "catastrophic").sum() == 2  # I-B and II-B
    for other in (plan, on_digits, custom):
        assert table1(other, read_trials(Snapshot(other, store)))["paper_white_box"].isna().all()


def test_paper_numbers_do_not_stand_beside_another_budget_of_the_same_level(tmp_path: Path, store: Store) -> None:
    # 4, 5.5 and 7 bits on average (5, 6.5 and 8 on set II) over 59 sites; printed are 230, 320, 410 and 80 more.
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\narchitectures: [regnetx_016]\noption_sets: [I, II]\nprinted_totals: false\n")
    mine = build_plan(build_grid(str(path), Choices(), num_sites), num_sites)

    table = table1(mine, read_trials(Snapshot(mine, store)))

    assert list(table["budget"]) == [236, 324, 413, 295, 384, 472]
    assert table["paper_white_box"].isna().all()
    assert set(table["paper_verdict"]) == {""}


def test_refused_cells_keep_their_row_and_say_so(store: Store) -> None:
    choices = Choices(architectures=["mobilenetv4_conv_medium"])
    plan = build_plan(build_grid("full", choices, num_sites), num_sites)

    table = table1(plan, read_trials(Snapshot(plan, store))).set_index(["option_set", "budget_level"])

    assert table.loc[("III", "A"), "detrimental_state"] == "refused"
    assert table.loc[("III", "A"), "num_trials"] == 0
    assert table.loc[("III", "B"), "detrimental_state"] == "waiting"


def test_goal_that_the_grid_does_not_have_is_no_refused_cell(store: Store) -> None:
    plan = build_plan(build_grid("quick", Choices(goals=("detrimental",)), num_sites), num_sites)
    write_pair(store, pair(plan, "A", "detrimental"), BROKEN)
    table = table1(plan, read_trials(Snapshot(plan, store)))
    assert set(table["robust_state"]) == {""}
    assert list(table["detrimental_state"])[::2] == ["done", "waiting"]
    figure = figure_table1(table)
    assert figure is not None
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "detrimental: waiting" in texts
    assert not [text for text in texts if text.startswith("robust")]


def test_curve_keeps_the_later_row_of_a_repeated_epoch(plan: Plan, store: Store) -> None:
    node = pair(plan, "A", "robust")
    fp, q = [0.5, 0.6, 0.7], [0.1, 0.2, 0.3]
    rows = pa.table({"epoch": [1, 2, 2], "validation/accuracy_fp": fp, "validation/accuracy_q": q})
    store.trial("pair", node.uid).write_table("epochs.parquet", rows)
    trial = next(trial for trial in read_trials(Snapshot(plan, store)) if trial.node is node)

    curve = read_curve(trial)

    assert curve is not None
    assert (curve.epochs, curve.accuracy_fp, curve.accuracy_q) == ((1, 2), (0.5, 0.7), (0.1, 0.3))
    store.trial("pair", node.uid).write_bytes("epochs.parquet", b"PAR1 cut short")
    damaged = next(trial for trial in read_trials(Snapshot(plan, store)) if trial.node is node)
    assert read_curve(damaged) is None


def test_the_trial_of_a_pair_is_told_where_a_cell_has_several(plan: Plan, store: Store) -> None:
    unsearched = build_plan(build_grid("quick", Choices(search={"trials": 0}), num_sites), num_sites)
    for shown, has_trials in ((plan, True), (unsearched, False)):
        table = table1_text(table1(shown, read_trials(Snapshot(shown, store))))
        assert ("trial" in [column.header for column in table.columns]) is has_trials


@pytest.mark.parametrize("grid", ["quick", "full"])
def test_terminal_table_fits_100_columns(grid: str, store: Store) -> None:
    plan = build_plan(build_grid(grid, Choices(), num_sites), num_sites)
    for node in plan.nodes:
        if node.cell and node.trial_number != 3 and node.cell.budget_level != "C":
            write_pair(store, node, BROKEN if node.cell.goal == "detrimental" else ROBUST)
    console = Console(width=100)

    with console.capture() as capture:
        console.print(render(table1_text(table1(plan, read_trials(Snapshot(plan, store))), is_short=True)))
    lines = capture.get().splitlines()

    assert max(map(len, lines)) <= 100
    assert any(IN_PERCENT in line and "-86.00" in line and "catastrophic" in line for line in lines)
    assert any("waiting" in line for line in lines)
    assert (sum("paper" in line for line in lines) == 27) == (grid == "full")


def test_only_the_verdict_is_coloured(plan: Plan, store: Store) -> None:
    write_pair(store, pair(plan, "A", "detrimental"), BROKEN)
    console = Console(width=100, force_terminal=True, color_system="standard")

    with console.capture() as capture:
        console.print(render(table1_text(table1(plan, read_trials(Snapshot(plan, store))), is_short=True)))

    assert "\x1b[1;31mcatastrophic" in capture.get()
    assert "\x1b[33m" not in capture.get()
