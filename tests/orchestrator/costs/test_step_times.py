"""Step times are the user's, what trials of the storage measured, or a table's, in this order; never a guess."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.costs.step_times import (
    Measurement,
    StepTimes,
    Training,
    measured_by_others,
    measured_in,
    parse_step_seconds,
    recipe_of,
    steps_per_epoch,
    training_of,
)
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.store.folder import CHECKPOINT, ENVIRONMENT
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.store.usage import GPU_SECONDS
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.model import vary
from search_spaces.stages.registry import Stage
from trainables.data.images import ImageData

PLAN: Plan = build_plan(build_grid("digits", Choices(), lambda _: 15), lambda _: 15)
NODES = PLAN.by_uid()
TEACHER, DISTILL, PAIR, *_ = PLAN.nodes
TRAININGS = [training_of(node, NODES) for node in (TEACHER, DISTILL, PAIR)]


def finish(store: Store, node: Node, seconds: list[float], *, device: str = "NVIDIA A10G", share: float = 0.0) -> None:
    folder = trial_of(store, node)
    folder.write_recipe(node, None)
    folder.folder.write_json(ENVIRONMENT, {"device": device})
    rows = [{"epoch": n + 1, "seconds": each, GPU_SECONDS: share * each} for n, each in enumerate(seconds)]
    folder.write_epoch(rows, b"state")
    folder.write_result({}, {CHECKPOINT: b"x"}, seconds=sum(seconds), data_sha256="d")


def test_training_is_known_by_stage_networks_and_image_size() -> None:
    assert TRAININGS == [
        Training(stage=Stage.TEACHER, architecture="resnet10t", teacher=None, image_size=32),
        Training(stage=Stage.DISTILL, architecture="test_resnet", teacher="resnet10t", image_size=32),
        Training(stage=Stage.PAIR, architecture="test_resnet", teacher="test_resnet", image_size=32),
    ]


def test_steps_of_an_epoch_are_those_that_the_data_gives(digits: ImageData) -> None:
    spec = DatasetSpec(name="digits", image_size=32)
    num_images = len(digits.splits["train"])
    assert spec.num_trained == pytest.approx(num_images, abs=digits.num_classes / 2)
    assert steps_per_epoch(recipe_of(PAIR), spec) == num_images // 64 == 20


def test_steps_of_a_dataset_that_only_its_files_know_are_unknown() -> None:
    recipe = recipe_of(PAIR)
    assert steps_per_epoch(recipe, DatasetSpec(name="folder:/flowers", image_size=32)) is None
    # A tenth is for validation.
    assert steps_per_epoch(recipe, DatasetSpec(name="folder:/flowers", image_size=32, train_images=1000)) == 900 // 64


def test_finished_trials_of_any_sweep_tell_the_median_of_their_epochs(store: Store) -> None:
    finish(store, PAIR, [30.0, 4.0, 2.0, 4.0], share=0.25)
    (measured,) = measured_in(store, TRAININGS)
    assert measured.training == TRAININGS[2]
    assert measured.device == "NVIDIA A10G"
    # 20 steps of 64 images took 4 s; the first epoch compiled kernels.
    assert measured.image_seconds == pytest.approx(4.0 / 1280)
    assert measured.gpu_share == pytest.approx(0.25)


def test_trials_that_tell_nothing_are_left_out(store: Store) -> None:
    unfinished, unasked = trial_of(store, TEACHER), DISTILL
    unfinished.write_recipe(TEACHER, None)
    unfinished.write_epoch([{"epoch": 1, "seconds": 1.0}], b"state")
    finish(store, unasked, [1.0])
    finish(store, PAIR, [1.0])
    trial_of(store, PAIR).folder.delete(ENVIRONMENT)
    assert list(measured_in(store, [TRAININGS[0], TRAININGS[2]])) == []


def test_a_policy_alone_tells_nothing_of_a_pair(store: Store) -> None:
    finish(store, replace(PAIR, recipe=vary(PAIR.recipe, train=("policy",))), [1.0])
    assert list(measured_in(store, TRAININGS)) == []


def test_distillation_is_known_with_its_teacher(store: Store) -> None:
    finish(store, DISTILL, [1.0])
    assert list(measured_in(store, TRAININGS)) == []  # nobody knows what taught it
    finish(store, TEACHER, [2.0])
    assert {each.training for each in measured_in(store, TRAININGS)} == set(TRAININGS[:2])


def test_measured_time_is_scaled_to_the_batch_and_the_share_kept(store: Store) -> None:
    for node, seconds in zip(PLAN.nodes[2:5], (1.0, 2.0, 6.0), strict=True):
        finish(store, node, [seconds], share=0.5)
    found = StepTimes(list(measured_in(store, TRAININGS))).find(TRAININGS[2], 128, "A10G")
    assert found is not None
    assert found.seconds == pytest.approx(2.0 / 1280 * 128)
    assert (found.gpu_share, found.source, found.device) == (0.5, "measured", "NVIDIA A10G")


def test_images_of_a_trial_are_counted_by_its_own_batches(store: Store) -> None:
    finish(store, replace(PAIR, recipe=vary(PAIR.recipe, batch_size=100)), [6.0])
    (measured,) = measured_in(store, TRAININGS)
    # 12 steps of 100 of the 1,294 images.
    assert measured.image_seconds == pytest.approx(6.0 / 1200)
    found = StepTimes([measured]).find(TRAININGS[2], 64, "A10G")
    assert found is not None
    assert found.seconds == pytest.approx(64 * 6.0 / 1200)


def test_steps_of_the_table_are_those_of_its_own_batches(tmp_path: Path) -> None:
    path = tmp_path / "times.yaml"
    line = "stage: pair, architecture: test_resnet, teacher: test_resnet, image_size: 32"
    path.write_text(f"step_times:\n  - {{{line}, batch_size: 50, device: cpu X, step_seconds: 2.0, source: me}}")
    known = StepTimes(measured_by_others(path))
    for batch_size, seconds in ((50, 2.0), (64, 2.56), (1, 0.04)):
        found = known.find(TRAININGS[2], batch_size, "cpu")
        assert found is not None
        assert found.seconds == pytest.approx(seconds)


def test_time_of_another_device_network_or_size_is_unknown(store: Store) -> None:
    finish(store, PAIR, [1.0])
    known = StepTimes(list(measured_in(store, TRAININGS)))
    assert known.find(TRAININGS[2], 64, "A10") is None
    assert known.find(TRAININGS[2], 64, "cpu") is None
    other = Training(stage=Stage.PAIR, architecture="test_resnet", teacher="test_resnet", image_size=64)
    assert known.find(other, 64, "A10G") is None


def test_user_wins_over_the_storage_and_the_storage_over_the_table() -> None:
    def measurement(seconds: float, source: str) -> Measurement:
        return Measurement(training=TRAININGS[2], device="cpu X", image_seconds=seconds, gpu_share=None, source=source)

    known = [measurement(0.1, "measured"), measurement(0.3, "measured"), measurement(9.0, "table")]
    found = StepTimes(known).find(TRAININGS[2], 10, "cpu")
    assert found is not None
    assert (found.seconds, found.source) == (pytest.approx(2.0), "measured")
    by_hand = StepTimes(known, by_hand={"pair": 7.0, "pair/resnet18": 1.0}).find(TRAININGS[2], 10, "cpu")
    assert by_hand is not None
    assert (by_hand.seconds, by_hand.source) == (7.0, "--step-seconds")
    both = StepTimes(known, by_hand={"pair": 7.0, "pair/test_resnet": 1.0}).find(TRAININGS[2], 10, "cpu")
    assert both is not None
    assert both.seconds == 1.0


def test_table_that_comes_along_knows_the_grids_digits_and_quick_on_a_cpu_and_nothing_of_gpus() -> None:
    table = measured_by_others()
    known = StepTimes(table)
    assert all(known.find(training, 64, "cpu") for training in TRAININGS)
    assert {each.device.split()[0] for each in table} == {"cpu"}
    assert {each.training.image_size for each in table} == {32}


def test_bad_line_of_the_table_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "times.yaml"
    line = "stage: pair, architecture: x, image_size: 32, batch_size: 64, device: cpu, step_seconds: 0, source: me"
    path.write_text(f"step_times:\n  - {{{line}}}")
    with pytest.raises(ConfigError, match=r"times.yaml: step_times.0.step_seconds=0: Input should be greater than 0"):
        measured_by_others(path)


@pytest.mark.parametrize("text", ["pair", "pair=", "pair=x", "pair=0", "pair=-1", "pair=inf", "pair=nan"])
def test_seconds_of_a_step_are_a_number_above_0(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--step-seconds 'pair.*a number above 0, as in pair=0.02"):
        parse_step_seconds([text])


def test_unknown_stage_of_a_step_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'--step-seconds pairs'\. Did you mean 'pair'"):
        parse_step_seconds(["pairs=1"])


def test_what_starts_from_a_network_that_is_given_is_known_as_what_starts_from_a_trial(store: Store) -> None:
    white_box, black_box = ({"uri": f"timm:{name}@/a.pt", "sha256": "0" * 64} for name in ("test_resnet", "resnet10t"))
    given = [
        replace(PAIR, recipe=vary(PAIR.recipe, white_box=white_box), parents=()),
        replace(DISTILL, recipe=vary(DISTILL.recipe, black_box=black_box), parents=()),
    ]
    trainings = [TRAININGS[2], TRAININGS[1]]
    assert [training_of(node, {}) for node in given] == trainings
    for node in given:
        finish(store, node, [1.0])
    assert {each.training for each in measured_in(store, trainings)} == set(trainings)
