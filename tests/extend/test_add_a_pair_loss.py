"""A pair loss is a function with its entry, and its name for recipes: added to a copy, `--set` chooses it."""

import json
from pathlib import Path

import pytest

from tests.extend.copies import copy_packages, dptq_sweep, edit, run_python

NAMES = ('"hinge_detrimental", "qu_anti_zation"]', '"hinge_detrimental", "qu_anti_zation", "least_likely"]')
FUNCTION = (
    "def leads(",
    '''def least_likely(student_probs_BK: Tensor, teacher_logits_BK: Tensor, *, margin: float) -> Tensor:
    """Pulls a quantized student towards the class that the teacher finds least likely.

    Args:
        student_probs_BK: Softmax of the quantized student, rows sum to 1.
        teacher_logits_BK: Of the frozen white box; only their arg-min counts.
        margin: Not used: a cross entropy has none.

    Returns:
        Mean over examples, at least 0.
    """
    class_B = teacher_logits_BK.argmin(dim=-1)
    return -_gather(student_probs_BK, class_B).clamp(min=1e-12).log().mean()


def leads(''',
)
ENTRY = (
    '    "qu_anti_zation": qu_anti_zation,\n}',
    '    "qu_anti_zation": qu_anti_zation,\n    "least_likely": least_likely,\n}',
)
TRAIN = """
import torch
from search_spaces.datasets import dataset_spec
from search_spaces.grids.named import SMOKE
from search_spaces.recipes import PairRecipe
from trainables.data.loading import load_dataset
from trainables.models.backbones import create_backbone
from trainables.stages import registry
from trainables.training_loop import finish

data = load_dataset(dataset_spec("digits", train_images=200, test_images=50))
recipe = PairRecipe(**SMOKE.pair | {"architecture": "test_resnet", "budget": 82, "epochs": 1, "loss": "least_likely"})
white_box = create_backbone("test_resnet", data.num_classes).eval().requires_grad_(False)
run = registry.start_stage("pair", recipe, data, parent=white_box, seed=0, device=torch.device("cpu"))
print(registry.__file__)
finish(run, lambda report: print(report.metrics["train/hinge"]))
"""


def uids(root: Path, *options: str) -> dict[str, str]:
    planned = json.loads(dptq_sweep(root, "plan", "--grid", "smoke", "--json", *options))
    return {node["name"]: node["uid"] for node in planned["nodes"]}


@pytest.mark.slow
def test_a_pair_loss_added_in_two_places_is_chosen_by_a_recipe_and_changes_no_other_trial(tmp_path: Path) -> None:
    root = copy_packages(tmp_path)
    before = uids(root)

    edit(root / "search_spaces/recipes.py", *NAMES)
    edit(root / "trainables/losses.py", *FUNCTION)
    edit(root / "trainables/losses.py", *ENTRY)

    assert uids(root) == before
    chosen = uids(root, "--set", "pair.detrimental.loss=least_likely")
    changed = {name for name in before if chosen[name] != before[name]}
    assert changed == {name for name in before if "/detrimental/" in name}

    module, loss = run_python(root, "-c", TRAIN).splitlines()
    assert module == f"{root}/trainables/stages/registry.py"
    assert float(loss) > 1.01  # more than any hinge can be, at a margin of 0.01
