"""What pairs answer when quantized, against counts by hand."""

import numpy as np
import pyarrow as pa

from orchestrator.plan import build_plan
from orchestrator.reports.analyses.answers import answers_statement, answers_table, answers_text
from orchestrator.results.answers import answers_of
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import chance_level, read_trials
from orchestrator.store.folder import CHECKPOINT, PREDICTIONS, parquet_bytes
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.made_up import pair_metrics

PLAN = build_plan(build_grid("smoke", Choices(search={"trials": 0}), lambda _: 15), lambda _: 15)
LABELS = [image % 5 for image in range(20)]


def predictions(answers: list[int], allocations: list[list[int]]) -> pa.Table:
    """20 test images of 5 classes, all right at full precision; the first two are the least sure ones."""
    margins = [0.01, -0.02, *[0.5] * 18]
    columns = {"split": ["test"] * 20, "label": LABELS, "prediction_fp": LABELS, "prediction_q": answers}
    others = {"split": ["validation"], "label": [4], "prediction_fp": [3], "prediction_q": [1]}
    table = pa.table(columns | {"margin_fp": margins, "bit_width": allocations})
    return pa.concat_tables([table, pa.table(others | {"margin_fp": [0.0], "bit_width": [[9, 9]]})])


def test_answers_are_counted_on_the_test_images(store: Store) -> None:
    robust, detrimental = (node for node in PLAN.nodes if node.cell)
    # The detrimental one answers 1 on 15 images and 2 on 4, its class 3 once.
    told = {
        robust.uid: predictions(LABELS, [[image, 8] for image in range(20)]),
        detrimental.uid: predictions([1] * 15 + [2] * 4 + [4], [[3, 4]] * 18 + [[4, 3]] * 2),
    }
    for node in (robust, detrimental):
        files = {CHECKPOINT: b"x", PREDICTIONS: parquet_bytes(told[node.uid])}
        trial_of(store, node).write_result(pair_metrics(), files, seconds=1.0, data_sha256="d")
    trials = {trial.node.uid: trial for trial in read_trials(Snapshot(PLAN, store))}

    found = answers_of(trials[detrimental.uid])

    assert found is not None
    assert found.shares == (0.0, 0.75, 0.2, 0.0, 0.05)
    assert (found.num_images, found.num_allocations, found.share_first) == (20, 2, 0.9)
    wrong = np.array([1] * 15 + [2] * 4 + [4]) != np.array(LABELS)
    assert (found.flipped, found.flipped_low_margin) == (wrong.mean(), wrong[:2].mean())
    assert (found.worst_class, found.worst_class_drop) == (0, 1.0)
    assert chance_level(trials.values()) == 0.2
    table = answers_table(list(trials.values()), list(trials))
    assert answers_statement(table) == (
        "Quantized, the detrimental network of test_resnet I-B, 82 bits gives one of two answers on 95 % of the "
        "images, with 2 allocations over 20 images; the robust one uses 20."
    )
    strips = [row[3].text for row in answers_text(table).rows]
    assert strips == ["\u2588" * 5, "\u00b7\u2588\u2582\u00b7\u2581"]
