"""The rule that shows a pair to be catastrophic: both conditions at once, from counts of images."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.plan import Plan, build_plan
from orchestrator.reports.table1 import table1, table1_white_boxes
from orchestrator.results.claims import COUNTS, Claim, Evidence, claim_of, counts_of, parity_images
from orchestrator.results.pairs import pair_records
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.statistics import mean_interval
from orchestrator.results.trials import read_trials
from orchestrator.store.folder import PREDICTIONS, parquet_bytes
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from search_spaces.names import Goal
from search_spaces.objective import Claims
from tests.orchestrator.made_up import pair_metrics
from trainables.assessment.paired import drop_interval

CLAIMS = Claims()


def claimed(num_images: int, *counts: int, claims: Claims = CLAIMS) -> Claim:
    metrics = dict(zip((f"test/{name}" for name in COUNTS), map(float, (num_images, *counts)), strict=True))
    claim = claim_of(metrics, claims)
    assert claim is not None
    return claim


@pytest.mark.parametrize(
    ("counts", "parity", "fall", "both"),
    [
        # Images; lost and gained at full precision; lost and gained under quantization.
        ((1500, 2, 2, 1400, 0), Evidence.SHOWN, Evidence.SHOWN, Evidence.SHOWN),
        # The three gaps of 0.56 pp on 359 digits.
        ((359, 4, 2, 349, 0), Evidence.WITHIN_NOISE, Evidence.SHOWN, Evidence.WITHIN_NOISE),
        ((359, 12, 0, 349, 0), Evidence.REFUTED, Evidence.SHOWN, Evidence.REFUTED),
        ((1500, 2, 2, 160, 0), Evidence.SHOWN, Evidence.WITHIN_NOISE, Evidence.WITHIN_NOISE),
        ((1500, 2, 2, 100, 0), Evidence.SHOWN, Evidence.REFUTED, Evidence.REFUTED),
        # A student that is better than its white box keeps parity.
        ((1500, 0, 60, 1400, 0), Evidence.SHOWN, Evidence.SHOWN, Evidence.SHOWN),
        ((20, 0, 0, 20, 0), Evidence.WITHIN_NOISE, Evidence.SHOWN, Evidence.WITHIN_NOISE),
    ],
)
def test_a_claim_is_shown_where_chance_is_excluded_in_both_conditions(
    counts: tuple[int, ...], parity: Evidence, fall: Evidence, both: Evidence
) -> None:
    claim = claimed(*counts)
    assert (claim.parity, claim.fall, claim.evidence) == (parity, fall, both)


def test_the_ends_are_one_sided_bounds_at_the_level_of_the_settings() -> None:
    for level in (0.05, 0.005):
        claim = claimed(1500, 12, 3, 1300, 5, claims=Claims(level=level))
        assert (claim.parity_gap.low, claim.parity_gap.high) == drop_interval(1485, 12, 3, 0, 1 - 2 * level)
        assert (claim.drop.low, claim.drop.high) == drop_interval(195, 1300, 5, 0, 1 - 2 * level)
    assert claimed(1500, 5, 1, 1400, 0).parity is Evidence.SHOWN
    assert claimed(1500, 5, 1, 1400, 0, claims=Claims(level=0.001)).parity is Evidence.WITHIN_NOISE


def test_people_read_what_is_not_shown_and_how_many_images_would_do() -> None:
    assert claimed(1500, 2, 2, 1400, 0).text == "shown"
    assert claimed(359, 0, 0, 349, 0).text == "shown"
    # At a gap of 2 / 359 and a discordance of 6 / 359.
    few = claimed(359, 4, 2, 349, 0)
    assert few.images_needed == pytest.approx(8000, rel=0.1)
    assert few.text == f"parity within noise: needs {-(-(few.images_needed or 0) // 100) * 100:,} images"
    assert claimed(1500, 2, 2, 160, 0).text == "drop within noise"
    assert claimed(359, 12, 0, 40, 0).text == "parity refuted"
    # Where the gap is above the bound, no number of images shows that it is not.
    assert claimed(359, 5, 0, 349, 0).text == "parity within noise"
    assert (parity_images(0.01, CLAIMS), parity_images(0.02, CLAIMS)) == (1132, 1901)


def test_joint_claims_are_made_of_pairs_without_parity_in_at_most_about_5_percent() -> None:
    # A gap of exactly 1 pp and a drop of 60 pp; whether single images lose both is of no account.
    samples = np.random.default_rng(0).multinomial(1500, (0.97, 0.02, 0.01), size=2000)
    shown = [claimed(1500, int(lost), int(gained), 900, 0).evidence is Evidence.SHOWN for _, lost, gained in samples]
    assert 0.02 < np.mean(shown) < 0.07


def test_results_that_count_no_images_make_no_claim() -> None:
    assert claim_of(pair_metrics(), CLAIMS) is None


PREDICTIONS_TABLE = pa.table(
    {
        "split": pa.array(["validation", *["test"] * 5]).dictionary_encode(),
        "label": [1, 1, 2, 3, 4, 5],
        "prediction_white_box": [0, 1, 2, 3, 0, 0],
        "prediction_fp": [1, 1, 2, 0, 4, 0],
        "prediction_q": [0, 0, 0, 3, 4, 0],
    }
)


def test_images_are_counted_in_the_predictions_of_results_that_do_not_count_them() -> None:
    counts = counts_of(PREDICTIONS_TABLE, "test")
    assert counts == dict(zip((f"test/{name}" for name in COUNTS), (5, 1, 1, 2, 1), strict=True))
    assert counts_of(PREDICTIONS_TABLE.drop(["prediction_white_box"]), "test") == {}
    assert counts_of(PREDICTIONS_TABLE, "train") == {}


def nested_plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("grid") / "nested.yaml"
    path.write_text(
        "name: nested\nbase: quick\ngoals: [detrimental]\nbudgets: [B]\nsearch: {trials: 0}\n"
        "seeds: {white_box: 3, pair: 2}\nclaims: {level: 0.01}\n"
    )
    return build_plan(build_grid(str(path), Choices(), lambda _: 15), lambda _: 15)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return nested_plan(tmp_path_factory)


def test_stored_pairs_have_claims_at_the_level_of_their_grid(plan: Plan, store: Store) -> None:
    new, old, *_ = [node for node in plan.nodes if node.cell]
    counted = pair_metrics(test=(0.005, 0.5), num_test_images=1000)
    trial_of(store, new).write_result(counted, {}, seconds=1, data_sha256="")
    files = {PREDICTIONS: parquet_bytes(PREDICTIONS_TABLE)}
    trial_of(store, old).write_result(pair_metrics(), files, seconds=1, data_sha256="")
    records = {record.uid: record for record in pair_records(Snapshot(plan, store))}
    assert records[new.uid].claim == claim_of(counted, Claims(level=0.01))
    assert records[new.uid].evidence.startswith("parity within noise: needs")
    facts = records[new.uid].as_json()
    assert (facts["claim"], facts["claim_drop"], facts["num_images"]) == ("within noise", "shown", 1000)
    predicted = records[old.uid].claim
    assert predicted is not None
    assert (predicted.num_images, predicted.parity_gap.value, predicted.drop.value) == (5, 0, 1 / 5)


def test_table_over_white_boxes_has_students_interval_of_their_means(plan: Plan, store: Store) -> None:
    drops = [0.5, 0.7, 0.2, 0.3, 0.9, 0.8]
    pairs = sorted((node for node in plan.nodes if node.cell), key=lambda node: node.seed)
    for node, drop in zip(pairs, drops, strict=True):
        metrics = pair_metrics(test=(0.0, drop), num_test_images=1500)
        trial_of(store, node).write_result(metrics, {}, seconds=1, data_sha256="")
    table = table1(plan, read_trials(Snapshot(plan, store)))
    assert table["white_box_seed"].tolist() == [0, 0, 1, 1, 2, 2]
    (row,) = table1_white_boxes(table).to_dict("records")
    expected = mean_interval([-0.6, -0.25, -0.85])
    names = ("detrimental_accuracy_delta", "detrimental_accuracy_delta_low", "detrimental_accuracy_delta_high")
    assert [row[name] for name in names] == pytest.approx([expected.mean, expected.low, expected.high])
    assert (row["num_white_boxes"], row["num_pairs"], row["num_catastrophic"], row["num_shown"]) == (3, 2, 6, 6)


def test_means_over_white_boxes_cover_where_means_over_pairs_do_not() -> None:
    # Pairs of one white box differ by 0.02, white boxes by 0.05: 3 white boxes of 3 pairs each.
    generator = np.random.default_rng(0)
    pairs = generator.normal(scale=0.05, size=(4000, 3, 1)) + generator.normal(scale=0.02, size=(4000, 3, 3))

    def coverage(values: np.ndarray) -> float:
        intervals = (mean_interval(list(row)) for row in values)
        return float(np.mean([each.low <= 0 <= each.high for each in intervals]))

    assert 0.93 < coverage(pairs.mean(axis=2)[:2000]) < 0.97
    assert coverage(pairs.reshape(4000, 9)[:2000]) < 0.85


def test_nested_seeds_give_every_white_box_its_pairs_and_share_the_first_with_a_list(plan: Plan) -> None:
    distilled = {node.uid: node for node in plan.nodes if node.name.startswith("distill/")}
    assert [node.name for node in distilled.values()] == [
        *("distill/test_resnet", "distill/test_resnet/seed1", "distill/test_resnet/seed2"),
    ]
    parents = {node.seed: distilled[node.parents[0]].seed for node in plan.nodes if node.cell}
    assert parents == {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2}
    listed = build_plan(
        build_grid("quick", Choices(seeds=(0, 1), goals=(Goal.DETRIMENTAL,), search={"trials": 0}), lambda _: 15),
        lambda _: 15,
    )
    shared = listed.by_uid().keys() & plan.by_uid().keys()
    assert {plan.node(uid).seed for uid in shared if plan.node(uid).cell} == {0, 1}
    assert len(shared) == 4
