"""Shares of a GPU by measured memory: measured once, read afterwards, and said aloud when it fails."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.runtime.resources import GPU_SHARE
from orchestrator.launch.gpu_packing import FIELDS_OF_EQUAL_MEMORY, Prober, Workload, choose_gpu_shares
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.store.store import Store
from orchestrator.workers.entry_points import count_bytes
from search_spaces import paper
from search_spaces.grids.build import Choices, build_grid
from search_spaces.model import vary
from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe
from search_spaces.stages.registry import STAGES, Stage
from trainables.data.images import ImageData

GB = 10**9
CLUSTER = {"CPU": 16.0, "GPU": 2.0}
FULL: Plan = build_plan(build_grid("full", Choices(), paper.NUM_SITES.__getitem__), paper.NUM_SITES.__getitem__)
# Without the recipe as published, whose batch norm makes it a kind of training of its own.
SEARCH = {"start_points": ("recipe",)}
SMOKE: Plan = build_plan(build_grid("smoke", Choices(search=SEARCH), lambda _: 15), lambda _: 15)
NUM_KINDS = 3
"""Kinds of training in it: one a stage."""

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """A real cluster that counts two GPUs without having any."""
    ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def prober(
    notes: Path, peak_bytes: Callable[[Workload], int], *, device: str = "H100", torch: str = "2.15", fits: bool = True
) -> Prober:
    """Measures nothing: answers, and leaves a line per question, since it runs in another process."""

    def measure(workload: Workload) -> dict[str, Any]:
        with notes.open("a") as file:
            file.write(f"{workload['stage']}/{workload['recipe']['architecture']}\n")
        return {"peak_bytes": peak_bytes(workload), "total_bytes": 80 * GB, "fits": fits}

    return Prober(identify=lambda: {"device": device, "torch": torch}, measure=measure)


def choose(
    plan: Plan, store: Store, chosen: Prober | None, cluster: dict[str, float] | None = None, **options: Any
) -> tuple[dict[str, float], list[str]]:
    lines: list[str] = []
    shares = choose_gpu_shares(plan.nodes, plan, store, cluster or CLUSTER, say=lines.append, prober=chosen, **options)
    return shares, lines


def asked(notes: Path) -> list[str]:
    """Returns the questions in the order of the alphabet: several workers ask side by side."""
    return sorted(notes.read_text().splitlines()) if notes.exists() else []


def test_full_grid_is_seven_measurements_and_every_trial_gets_its_share(store: Store, tmp_path: Path) -> None:
    def peak_bytes(workload: Workload) -> int:
        return {"teacher": 45, "distill": 20, "pair": 6}[workload["stage"]] * GB

    notes = tmp_path / "notes"
    shares, lines = choose(FULL, store, prober(notes, peak_bytes))
    assert asked(notes) == sorted(
        ["teacher/resnet50", *(f"{stage}/{name}" for stage in ("distill", "pair") for name in paper.NUM_SITES)]
    )
    expected = {Stage.TEACHER: 1.0, Stage.DISTILL: 0.3333, Stage.PAIR: 0.125}
    assert shares == {node.uid: expected[node.stage] for node in FULL.nodes}
    assert lines[0] == "measuring the memory of 7 kinds of training on one GPU"
    assert "probed teacher/resnet50 224 px batch 128: 45.0 GB of 80.0 GB, 1 per GPU" in lines
    assert "probed distill/resnet18 from resnet50 224 px batch 256: 20.0 GB of 80.0 GB, 3 per GPU" in lines
    assert "probed pair/resnet18 224 px batch 64: 6.0 GB of 80.0 GB, 8 per GPU" in lines


def test_a_second_launch_reads_what_the_first_measured(store: Store, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    first, _ = choose(SMOKE, store, prober(notes, lambda _: 10 * GB))
    once = asked(notes)
    again, lines = choose(SMOKE, store, prober(notes, lambda _: 79 * GB))
    assert again == first
    assert asked(notes) == once
    assert len(lines) == 1 + len(set(once))
    assert all(" before: " in line for line in lines[1:])


@pytest.mark.parametrize("changed", [{"device": "A100"}, {"torch": "2.16"}])
def test_another_gpu_or_torch_is_measured_anew(store: Store, tmp_path: Path, changed: dict[str, str]) -> None:
    notes = tmp_path / "notes"
    choose(SMOKE, store, prober(notes, lambda _: 10 * GB))
    once = asked(notes)
    shares, _ = choose(SMOKE, store, prober(notes, lambda _: 79 * GB, **changed))
    assert asked(notes) == sorted(once * 2)
    assert set(shares.values()) == {1.0}


@pytest.mark.parametrize("content", [b'{"measured": {"peak', b"[]", b'{"measured": {"peak_bytes": -1}}', b"\xff"])
def test_a_damaged_file_is_measured_anew_and_replaced(store: Store, tmp_path: Path, content: bytes) -> None:
    notes = tmp_path / "notes"
    choose(SMOKE, store, prober(notes, lambda _: 10 * GB))
    num_asked = len(asked(notes))
    folder = store.root.folder("probes")
    damaged = folder.names()[0]
    whole = folder.read_bytes(damaged)
    folder.write_bytes(damaged, content)
    choose(SMOKE, store, prober(notes, lambda _: 10 * GB))
    assert len(asked(notes)) == num_asked + 1
    assert folder.read_bytes(damaged) == whole


def test_a_training_that_fills_a_gpu_gets_a_whole_one_and_is_measured_again(store: Store, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    shares, lines = choose(SMOKE, store, prober(notes, lambda _: GB, fits=False))
    assert set(shares.values()) == {1.0}
    assert len(lines) == 1 + NUM_KINDS
    assert all(line.endswith("does not fit 80.0 GB, 1 per GPU") for line in lines[1:])
    choose(SMOKE, store, prober(notes, lambda _: GB))
    assert len(asked(notes)) == 2 * len(set(asked(notes)))


def test_a_failed_probe_falls_back_to_the_stages_share_and_says_why(store: Store, tmp_path: Path) -> None:
    def fail_for_pairs(workload: Workload) -> int:
        if workload["stage"] == "pair":
            raise RuntimeError("no kernel\nfor this device")
        return 10 * GB

    shares, lines = choose(SMOKE, store, prober(tmp_path / "notes", fail_for_pairs))
    by_stage = {node.stage: shares[node.uid] for node in SMOKE.nodes}
    assert by_stage == {Stage.TEACHER: 0.1428, Stage.DISTILL: 0.1428, Stage.PAIR: GPU_SHARE["pair"]}
    failed = [line for line in lines if "failed" in line]
    assert failed == [
        "probe of pair/test_resnet 32 px batch 64 failed (RuntimeError: no kernel): "
        "2 per GPU, the fixed share of its stage"
    ]


def test_a_probe_that_dies_as_a_whole_falls_back_for_every_stage(store: Store) -> None:
    def die() -> dict[str, str]:
        raise OSError("no driver")

    shares, lines = choose(SMOKE, store, Prober(identify=die))
    assert shares == {node.uid: GPU_SHARE[node.stage] for node in SMOKE.nodes}
    assert len(lines) == 1 + NUM_KINDS
    assert all("failed" in line and "OSError: no driver" in line for line in lines[1:])


def test_a_probe_that_takes_too_long_is_given_up_and_frees_its_gpu(store: Store, tmp_path: Path) -> None:
    def wait() -> dict[str, str]:
        import time

        time.sleep(100)
        return {}

    shares, lines = choose(SMOKE, store, Prober(identify=wait, seconds=0.5))
    assert shares == {node.uid: GPU_SHARE[node.stage] for node in SMOKE.nodes}
    assert len(lines) == 1 + NUM_KINDS
    assert all("failed (not over within 0.5 s; is a whole GPU free?)" in line for line in lines[1:])
    shares, _ = choose(SMOKE, store, prober(tmp_path / "notes", lambda _: 79 * GB))
    assert set(shares.values()) == {1.0}


def test_the_real_probe_fails_in_one_line_where_ray_counts_gpus_that_are_not_there(store: Store) -> None:
    shares, lines = choose(SMOKE, store, None)
    assert shares == {node.uid: GPU_SHARE[node.stage] for node in SMOKE.nodes}
    assert len(lines) == 1 + NUM_KINDS
    assert all("failed (" in line and "\n" not in line for line in lines[1:])


def test_nothing_is_measured_without_gpus_or_when_the_user_chose(store: Store, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    fake = prober(notes, lambda _: GB)
    assert choose(SMOKE, store, fake, {"CPU": 2.0}) == ({node.uid: 0.0 for node in SMOKE.nodes}, [])
    assert choose(SMOKE, store, fake, {"CPU": 2.0, "GPU": 0.0})[1] == []
    assert choose(SMOKE, store, fake, gpus_per_trial=0.2) == ({node.uid: 0.2 for node in SMOKE.nodes}, [])
    assert not notes.exists()


def test_a_measurement_is_kept_as_readable_json_with_what_it_is_of(store: Store, tmp_path: Path) -> None:
    choose(SMOKE, store, prober(tmp_path / "notes", lambda _: 10 * GB))
    folder = store.root.folder("probes")
    contents = [json.loads(folder.read_bytes(name) or b"") for name in folder.names()]
    trained = {str(stage) for stage in Stage if STAGES[stage].is_training}
    assert {content["workload"]["stage"] for content in contents} == trained
    for content in contents:
        assert content["gpu"] == {"device": "H100", "torch": "2.15"}
        assert content["measured"] == {"peak_bytes": 10 * GB, "total_bytes": 80 * GB, "fits": True}


def test_fields_of_equal_memory_are_fields_of_recipes() -> None:
    fields = {name for recipe in (TeacherRecipe, DistillRecipe, PairRecipe) for name in recipe.model_fields}
    assert fields >= FIELDS_OF_EQUAL_MEMORY


@pytest.mark.parametrize(
    ("changes", "is_new"),
    [
        ({"margin": 0.5, "budget": 90, "goal": "detrimental", "epochs": 7, "learning_rate": 0.5}, False),
        ({"batch_size": 16}, True),
        ({"weight_bit_width": None}, True),
        ({"batch_norm": "both"}, True),
        ({"optimizer": "adamw"}, True),
    ],
)
def test_a_change_of_recipe_is_measured_if_it_may_change_memory(
    store: Store, tmp_path: Path, changes: dict[str, Any], is_new: bool
) -> None:
    notes = tmp_path / "notes"
    choose(SMOKE, store, prober(notes, lambda _: GB))
    num_asked = len(asked(notes))
    grid = SMOKE.grid
    cells = tuple(cell.model_copy(update={"recipe": vary(cell.recipe, **changes)}) for cell in grid.cells)
    changed = build_plan(grid.model_copy(update={"cells": cells}), lambda _: 15)
    choose(changed, store, prober(notes, lambda _: GB))
    assert len(asked(notes)) - num_asked == int(is_new)


def test_dataset_counts_with_the_bytes_that_a_trial_loads(digits: ImageData) -> None:
    loaded = sum(split.images_BCHW.numel() for split in digits.splits.values())
    assert count_bytes(SMOKE.nodes[0].dataset, None) == loaded


def test_a_pair_of_timms_architecture_is_measured_whoever_trained_its_white_box(store: Store, tmp_path: Path) -> None:
    def of(kind: str, node: Node) -> Node:
        white_box = {"uri": kind, "sha256": "0" * 64}
        return replace(node, uid=kind[:16], recipe=vary(node.recipe, white_box=white_box), parents=())

    pair = next(node for node in SMOKE.nodes if node.stage is Stage.PAIR)
    nodes = [of("timm:test_resnet@/a.pt", pair), of("python:nets:make", pair)]
    notes = tmp_path / "notes"
    plan = replace(SMOKE, nodes=tuple(nodes))
    shares, _ = choose(plan, store, prober(notes, lambda workload: 6 * GB))
    assert asked(notes) == ["pair/test_resnet"]
    # What the probe cannot build gets the share of its stage.
    assert [shares[node.uid] for node in nodes] == [shares[nodes[0].uid], 0.5]
    assert shares[nodes[0].uid] < 0.5
