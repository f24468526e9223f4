"""The paper's pipeline on a real sample of the paper's data, with the paper's recipes but for their length."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.plan import build_plan
from orchestrator.store.folder import PREDICTIONS
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers import trial as trial_worker
from search_spaces import paper
from search_spaces.grids.build import Choices, build_grid
from search_spaces.recipes import DistillRecipe, PairRecipe


@pytest.mark.slow
def test_pets_go_through_all_stages_with_the_papers_augmentation(
    pets_dir: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPTQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ray.tune.report", lambda report: None)
    monkeypatch.setattr("ray.get_gpu_ids", list)
    choices = Choices(
        architectures=("test_resnet",),
        option_sets=("I",),
        budgets=(82,),
        epochs_scale=0.001,
        image_size=64,
        teacher_weights="scratch",
        overrides=("teacher.architecture=test_resnet", "distill.batch_size=64"),
    )
    plan = build_plan(build_grid("full", choices, lambda _: 15), lambda _: 15)
    for node in plan.nodes:
        trial_of(store, node).write_recipe(node, None)
        config = {
            "storage": store.uri,
            "stage": str(node.stage),
            "uid": node.uid,
            "data_dir": str(pets_dir),
            "stop_file": "stop",
        }
        trial_worker.run_trial(config | {"stop_file": "stop"})
        folder = trial_of(store, node)
        assert folder.state() is State.DONE, folder.error()
        if isinstance(node.recipe, DistillRecipe | PairRecipe):
            assert node.recipe.augmentations == paper.DISTILL_AUGMENTATIONS
    assert [str(node.stage) for node in plan.nodes] == ["teacher", "distill", "pair", "pair"]
    table = pq.read_table(Path(store.uri) / "pair" / plan.nodes[-1].uid / PREDICTIONS).to_pandas()
    assert {sum(bits) for bits in table["bit_width"]} == {82}
    listed = (pets_dir / "oxford-iiit-pet" / "annotations" / "test.txt").read_text().splitlines()
    assert (table["split"] == "test").sum() == sum(not line.startswith("#") for line in listed)
