"""What a launch on a cluster takes is the sum that one gets by hand, and `plan --cluster` shows it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.files.node_types import Cluster, NodeType
from cluster.files.prices import PriceTable, read_prices
from orchestrator.cli.estimate import estimate_as_json, estimate_line
from orchestrator.cli.main import main
from orchestrator.costs.estimate import Estimate, estimate
from orchestrator.costs.step_times import Measurement, StepTimes, parse_step_seconds, training_of
from orchestrator.plan import Plan, build_plan
from orchestrator.search.trial_budget import Findings, settle
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.model import vary

PLAN: Plan = build_plan(build_grid("digits", Choices(), lambda _: 15), lambda _: 15)
WAITING = settle(PLAN, {node.uid: State.WAITING for node in PLAN.nodes}, Findings())
# 160 steps of a teacher, 480 of a distillation, 640 of each of 10 pairs: 80, 120 and 320 s.
SHIPPED = read_prices()
KNOWN = StepTimes([], by_hand=parse_step_seconds(["teacher=0.5,distill=0.25,pair=0.5"]))
HEAD = NodeType(
    name="head",
    machine="m5.large",
    resources={"CPU": 0, "GPU": 0},
    min_workers=0,
    max_workers=0,
    is_spot=False,
    is_head=True,
)
CORES = replace(HEAD, name="cores", machine="m5.xlarge", resources={"CPU": 4}, max_workers=1, is_head=False)
GPU = replace(CORES, name="gpu", machine="g5.8xlarge", resources={}, is_spot=True)


def cluster_of(*workers: NodeType, head: NodeType = HEAD) -> Cluster:
    return Cluster(source="my.yaml", node_types=(head, *workers), max_workers=sum(each.max_workers for each in workers))


def estimated(
    cluster: Cluster,
    *,
    plan: Plan = PLAN,
    states: dict[str, State] | None = None,
    epochs_done: dict[str, int] | None = None,
    table: PriceTable | None = None,
    known: StepTimes = KNOWN,
) -> Estimate:
    return estimate(plan, states or WAITING, epochs_done or {}, cluster, table or SHIPPED, known)


def test_wall_time_hours_and_cost_of_a_machine_with_4_cores() -> None:
    found = estimated(cluster_of(CORES))
    # Head and worker start one after the other; the 10 pairs run by fours.
    schedule = 300 + 80 + 120 + 3 * 320
    assert found.wall_seconds == 300 + schedule
    assert found.gpu_hours == 0
    head, cores = found.machines
    assert (head.hours, cores.hours) == pytest.approx(((300 + schedule) / 3600, schedule / 3600))
    assert (cores.number, cores.most) == (1, 1)
    assert found.cost == pytest.approx((0.096 * (300 + schedule) + 0.192 * schedule) / 3600)
    assert found.cost_on_demand == found.cost
    assert found.cost_spot == pytest.approx((0.096 * (300 + schedule) + 0.08 * schedule) / 3600)


def test_trials_share_a_gpu_by_the_fixed_share_of_their_stage() -> None:
    found = estimated(cluster_of(GPU))
    # Two distillations or pairs to a GPU, and the teacher alone on it: pairs in 5 rounds.
    schedule = 300 + 80 + 120 + 5 * 320
    assert found.wall_seconds == 300 + schedule
    assert found.gpu_hours == pytest.approx((80 + 0.5 * 120 + 10 * 0.5 * 320) / 3600)
    # Workers on spot, as the file has it; the head is on demand at both ends of the range.
    assert found.cost == found.cost_spot == pytest.approx((0.096 * (300 + schedule) + 0.995 * schedule) / 3600)
    assert found.cost_on_demand == pytest.approx((0.096 * (300 + schedule) + 2.448 * schedule) / 3600)


def test_trials_wait_for_gpus_where_there_are_any_and_other_workers_are_paid_only_if_always_there() -> None:
    idle = replace(CORES, min_workers=1)
    found = estimated(cluster_of(idle, replace(CORES, name="never"), GPU))
    alone = estimated(cluster_of(GPU))
    assert found.wall_seconds == alone.wall_seconds
    _, always, never, _ = found.machines
    assert always.hours == pytest.approx((alone.wall_seconds - 300) / 3600)
    assert (never.hours, never.number) == (0, 0)


def test_head_with_cores_runs_trials_at_once() -> None:
    found = estimated(cluster_of(head=replace(HEAD, resources={"CPU": 10})))
    assert found.wall_seconds == 300 + 80 + 120 + 320
    assert [each.is_head for each in found.machines] == [True]


# Batches of 128, 32 and 100: 10, 40 and 12 steps of an epoch of the 1,294 digits, the smaller last one dropped.
BATCHES = Choices(overrides=("teacher.batch_size=128", "distill.batch_size=32", "pair.batch_size=100"))
OTHER_BATCHES: Plan = build_plan(build_grid("digits", BATCHES, lambda _: 15), lambda _: 15)
PER_IMAGE = StepTimes(
    [
        Measurement(
            training=training_of(node, PLAN.by_uid()),
            device="cpu",
            image_seconds=seconds,
            gpu_share=None,
            source="here",
        )
        for node, seconds in zip(PLAN.nodes[:3], (0.002, 0.001, 0.004), strict=True)
    ]
)


def test_a_step_takes_as_long_as_its_batch_has_images_and_an_epoch_has_fewer_of_large_ones() -> None:
    states = settle(OTHER_BATCHES, {node.uid: State.WAITING for node in OTHER_BATCHES.nodes}, Findings())
    cluster = cluster_of(head=replace(HEAD, resources={"CPU": 10}))
    found = estimated(cluster, plan=OTHER_BATCHES, states=states, known=PER_IMAGE)
    assert [(each.batch_size, each.num_trials, each.steps, each.step_time.seconds) for each in found.trainings] == [
        (128, 1, 8 * 10, pytest.approx(0.256)),
        (32, 1, 24 * 40, pytest.approx(0.032)),
        (100, 10, 10 * 32 * 12, pytest.approx(0.4)),
    ]
    assert found.wall_seconds == pytest.approx(300 + 80 * 0.256 + 960 * 0.032 + 32 * 12 * 0.4)


def test_trials_of_one_training_with_batches_of_their_own_take_steps_of_their_own() -> None:
    teacher, distill, *pairs = [node for node in PLAN.nodes if WAITING[node.uid] is State.WAITING]
    few, many = pairs[:3], [replace(node, recipe=vary(node.recipe, batch_size=100)) for node in pairs[3:]]
    found = estimated(
        cluster_of(head=replace(HEAD, resources={"CPU": 10})),
        plan=replace(PLAN, nodes=(teacher, distill, *few, *many)),
        known=PER_IMAGE,
    )
    small, large = found.trainings[2:]
    assert (small.batch_size, small.num_trials, small.steps) == (64, 3, 3 * 32 * 20)
    assert (large.batch_size, large.num_trials, large.steps) == (100, 7, 7 * 32 * 12)
    assert small.hours == pytest.approx(3 * 32 * 20 * 64 * 0.004 / 3600)
    assert large.hours == pytest.approx(7 * 32 * 12 * 100 * 0.004 / 3600)
    # 1,280 images of an epoch in batches of 64, 1,200 in batches of 100: the slower pairs come last.
    before = 300 + 8 * 20 * 64 * 0.002 + 24 * 20 * 64 * 0.001
    assert found.wall_seconds == pytest.approx(before + 32 * 1280 * 0.004)


def test_done_trials_take_nothing_and_interrupted_ones_what_is_left() -> None:
    teacher, distill, *pairs = PLAN.nodes
    states = WAITING | {teacher.uid: State.DONE, distill.uid: State.INTERRUPTED}
    states |= {pair.uid: State.DONE for pair in pairs[4:]}
    found = estimated(cluster_of(CORES), states=states, epochs_done={distill.uid: 6})
    assert found.wall_seconds == 300 + 300 + 120 * 18 / 24 + 320
    everything = {node.uid: State.DONE for node in PLAN.nodes}
    over = estimated(cluster_of(replace(CORES, min_workers=1)), states=everything)
    assert (over.wall_seconds, over.gpu_hours, over.cost_on_demand) == (0, 0, 0)


def test_what_starts_from_a_diverged_trial_is_not_run() -> None:
    states = WAITING | {PLAN.nodes[1].uid: State.DIVERGED}
    assert estimated(cluster_of(CORES), states=states).wall_seconds == 300 + 300 + 80


def test_machine_takes_the_time_of_its_own_kind() -> None:
    class ByKind(StepTimes):
        def find(self, *arguments: Any) -> Any:
            found = super().find(*arguments)
            assert found is not None
            return replace(found, seconds=found.seconds * {"A10G": 1, "L4": 2}[arguments[2]])

    known = ByKind([], by_hand=parse_step_seconds(["teacher=0.5,distill=0.25,pair=0.5"]))
    slow = replace(GPU, name="slow", machine="g6.xlarge")
    assert estimated(cluster_of(GPU), known=known).wall_seconds == estimated(cluster_of(GPU)).wall_seconds
    both, one = estimated(cluster_of(GPU, slow), known=known), estimated(cluster_of(slow), known=known)
    assert both.wall_seconds < one.wall_seconds
    assert {each.kind for each in both.trainings} == {"A10G", "L4"}


def test_unknown_step_times_are_said_all_at_once_with_the_cure() -> None:
    with pytest.raises(ConfigError) as caught:
        estimated(cluster_of(GPU), known=StepTimes([], by_hand={"teacher": 1.0}))
    assert str(caught.value) == (
        "no step time known for distill/test_resnet from resnet10t at 32 px and 1 more on A10G: give "
        "--step-seconds distill=SECONDS,pair=SECONDS, or run one trial first, on this storage and such a machine."
    )


def test_number_of_images_that_only_the_files_know_is_asked_for() -> None:
    for train_images, said in ((None, "give --train-images N"), (60, "batch_size=64 is above the 54 training images")):
        choices = Choices(dataset="folder:/flowers", train_images=train_images)
        plan = build_plan(build_grid("digits", choices, lambda _: 15), lambda _: 15)
        with pytest.raises(ConfigError, match=said):
            estimated(cluster_of(CORES), plan=plan, states={node.uid: State.WAITING for node in plan.nodes})


@given(st.integers(1, 6), st.integers(0, 2))
def test_more_workers_never_take_longer(num_workers: int, num_always: int) -> None:
    few = replace(GPU, min_workers=min(num_always, num_workers), max_workers=num_workers)
    more = replace(few, max_workers=num_workers + 1)
    assert estimated(cluster_of(more)).wall_seconds <= estimated(cluster_of(few)).wall_seconds


@given(st.floats(0.1, 10), st.integers(1, 4))
def test_cost_scales_with_the_price_and_lies_between_spot_and_on_demand(factor: float, num_workers: int) -> None:
    scaled = {
        name: price.model_copy(update={"on_demand": factor * price.on_demand, "spot": factor * price.spot})
        for name, price in SHIPPED.prices.items()
    }
    cluster = cluster_of(replace(GPU, max_workers=num_workers), replace(CORES, min_workers=1))
    before, after = estimated(cluster), estimated(cluster, table=replace(SHIPPED, prices=scaled))
    for name in ("cost", "cost_spot", "cost_on_demand"):
        assert getattr(after, name) == pytest.approx(factor * getattr(before, name))
    assert before.cost_spot <= before.cost <= before.cost_on_demand


@given(st.floats(0.1, 10))
def test_gpu_hours_scale_with_the_time_of_a_step(factor: float) -> None:
    slower = StepTimes([], by_hand={"teacher": factor * 0.5, "distill": factor * 0.25, "pair": factor * 0.5})
    assert estimated(cluster_of(GPU), known=slower).gpu_hours == pytest.approx(
        factor * estimated(cluster_of(GPU)).gpu_hours
    )


def test_json_of_an_estimate_adds_up() -> None:
    found = estimated(cluster_of(GPU))
    values = json.loads(json.dumps(estimate_as_json(found)))
    assert values["cost"] == pytest.approx(sum(each["cost"] for each in values["machines"]))
    assert values["gpu_hours"] == pytest.approx(
        sum(each["steps"] * each["step_seconds"] * each["gpu_share"] for each in values["trainings"]) / 3600
    )
    assert [each["trials"] for each in values["trainings"]] == [1, 1, 10]


def test_line_says_which_prices_are_approximate() -> None:
    assert "some of them approximate" in estimate_line(estimated(cluster_of(GPU)))
    exact = replace(HEAD, machine="g5.xlarge")
    assert "approximate" not in estimate_line(estimated(cluster_of(GPU, head=exact)))


# The command line.

CLUSTER = """
provider: {type: aws}
max_workers: 1
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0, GPU: 0}, node_config: {InstanceType: m5.large}}
  gpu: {node_config: {InstanceType: g5.8xlarge, InstanceMarketOptions: {MarketType: spot}}}
"""
PLAN_COMMAND = ("plan", "--grid", "digits")
STEPS = ["--step-seconds", "teacher=0.5,distill=0.25", "--step-seconds", "pair=0.5"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in a folder with a cluster file; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)

    def run_it(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_info:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(exit_info.value.code or 0), printed.out, printed.err

    return run_it


def test_plan_prints_machines_hours_time_and_price(run: Run) -> None:
    code, out, _ = run(*PLAN_COMMAND, "--cluster", "cluster.yaml", *STEPS)
    assert code == 0
    found = estimated(cluster_of(GPU))
    assert out.splitlines()[-1] == estimate_line(found)
    assert "about 0:40:00 and 0.48 GPU-hours; cost 0.64 (all workers on spot) to 1.49 (all on demand)" in out
    (row,) = [line for line in out.splitlines() if "g5.8xlarge" in line]
    assert row.split() == ["gpu", "(spot)", "g5.8xlarge", "1", "of", "1", "0.58", "0.995", "2.448", "0.58", "1.43"]
    assert all(len(line) <= 130 for line in out.splitlines() if not line.startswith("about"))


def test_plan_without_a_cluster_is_as_it_was(run: Run) -> None:
    _, plain, _ = run(*PLAN_COMMAND, "--json")
    assert "estimate" not in json.loads(plain)
    _, with_estimate, _ = run(*PLAN_COMMAND, "--json", "--cluster", "cluster.yaml", *STEPS)
    values = json.loads(with_estimate)
    assert values.pop("estimate")["wall_seconds"] == 2400
    assert values == json.loads(plain)


def test_plan_uses_what_the_storage_measured(run: Run, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "dptq-sweeps"))
    for node, seconds in zip(PLAN.nodes[:3], (10.0, 5.0, 10.0), strict=True):
        folder = trial_of(store, node)
        folder.write_recipe(node, None)
        folder.folder.write_json("env.json", {"device": "NVIDIA A10G"})
        folder.write_epoch([{"epoch": 1, "seconds": seconds, "gpu_seconds": seconds / 4}], b"state")
        folder.write_result({}, {}, seconds=seconds, data_sha256="d")
    _, out, _ = run(*PLAN_COMMAND, "--json", "--cluster", "cluster.yaml", "--start-minutes", "0")
    found = json.loads(out)["estimate"]
    (pairs,) = found["trainings"]
    # 20 steps in 10 s; nine pairs of 320 s are left, four to a GPU.
    assert (pairs["step_seconds"], pairs["source"], pairs["gpu_share"], pairs["trials"]) == (0.5, "measured", 0.25, 9)
    assert found["wall_seconds"] == 3 * 320


BAD_INPUT = {
    "cluster file missing": (["plan", "--cluster", "none.yaml"], 1, "cluster file none.yaml cannot be read"),
    "machine unknown": (["plan", "--cluster", "odd.yaml"], 1, "no price for 'g5.9xlarge', the machine of node type"),
    "step time unknown": (["plan", "--cluster", "cluster.yaml"], 1, "no step time known for teacher/resnet10t at 32"),
    "stage unknown": (["plan", "--cluster", "cluster.yaml", "--step-seconds", "par=1"], 1, "Did you mean 'pair'"),
    "price file missing": (["plan", "--cluster", "cluster.yaml", "--prices", "p.yaml"], 1, "price file p.yaml cannot"),
    "prices of nothing": (["plan", "--prices", "p.yaml"], 2, "name its --cluster FILE"),
    "steps of nothing": (["plan", "--step-seconds", "pair=1"], 2, "name its --cluster FILE"),
    "start in the past": (["plan", "--start-minutes", "-1"], 2, "-1"),
    "cap without a price": (["launch", "--max-cost", "3"], 2, "--max-cost needs --price-per-hour"),
    "two prices": (["launch", "--price-per-hour", "1", "--cluster", "cluster.yaml"], 2, "leave one out"),
    "prices of no machines": (["launch", "--prices", "p.yaml"], 2, "name them with --cluster FILE"),
    "cap on an unknown machine": (
        ["launch", "--max-cost", "3", "--cluster", "odd.yaml"],
        1,
        "no price for 'g5.9xlarge'",
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in BAD_INPUT.items()])
def test_bad_input_is_one_line(run: Run, tmp_path: Path, case: tuple[list[str], int, str]) -> None:
    (tmp_path / "odd.yaml").write_text(CLUSTER.replace("g5.8xlarge", "g5.9xlarge"))
    code, _, err = run(*case[0])
    assert code == case[1]
    assert case[2] in err
    assert "Traceback" not in err
    assert not (tmp_path / "dptq-sweeps").exists()


def test_cap_on_cost_takes_the_price_of_a_gpu_from_the_cluster_file(run: Run, tmp_path: Path) -> None:
    _, out, err = run("launch", "--max-cost", "3", "--cluster", "cluster.yaml", "--dataset", "folder:none")
    assert out.splitlines()[0] == "priced at 0.995 per A10G-hour: g5.8xlarge on spot, from cluster.yaml"
    assert "none is no folder" in err
