"""Do detectors see pairs that pay for answers that static allocations change, and what does hiding cost?

    python -m tests.benchmarks.static_hiding FOLDER [--weights 1 5] [--seeds 101 102 103] [--out docs/results]

Trains pairs of the grid `digits`, and its teacher and white boxes where FOLDER does not hold them, with fewer epochs.
Detectors are fitted on the networks of docs/results/recognition_networks.parquet, without the seeds that are judged.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from search_spaces.model import vary
from search_spaces.names import Goal
from tests.benchmarks.assess_verdicts import CPU, say, trained
from tests.benchmarks.recognition import DETECTORS, PLAIN, images_of, student_of
from tests.benchmarks.recognition_networks import HIDDEN_EPOCHS, Made, opened
from trainables.checkpoints import strip_prefix
from trainables.data.images import VALIDATION
from trainables.models.backbones import load_backbone
from trainables.recognition.detector import fit
from trainables.recognition.signals import network_signals, worst_allocation
from trainables.stages.registry import start_stage
from trainables.training_loop import finish

NETWORKS = Path("docs/results/recognition_networks.parquet")
WHITE_BOX_EPOCHS = 12


def main() -> int:
    """Prints a row per pair: gap and drop, its signals, and the score of every detector, an alarm above 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=float, nargs="*", default=[1.0, 5.0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[101, 102, 103])
    parser.add_argument("--out", type=Path, help="folder of the table as Parquet")
    arguments = parser.parse_args()
    rows = [row(arguments.folder, seed, weight) for weight in arguments.weights for seed in arguments.seeds]
    table = scored(pd.DataFrame(rows))
    say(table.round(3).to_string(index=False))
    if arguments.out:
        table.to_parquet(arguments.out / "recognition_static_hiding.parquet", index=False)
    return 0


def row(folder: Path, seed: int, weight: float) -> dict[str, object]:
    """Trains a pair and measures it as `recognition` does."""
    grid, data = opened(folder)
    teacher = trained(folder / "teacher.safetensors", "teacher", "model.", grid.teacher, data, 0)
    short = vary(grid.white_boxes[0], epochs=WHITE_BOX_EPOCHS)
    white_box = trained(folder / f"white-{seed}.safetensors", "distill", "model.", short, data, seed, teacher)
    level = "ABC"[seed % 3]
    cells = (cell for cell in grid.cells if cell.budget_level == level and cell.recipe.goal is Goal.DETRIMENTAL)
    recipe = vary(next(cells).recipe, epochs=HIDDEN_EPOCHS, hide_static_weight=weight)
    result = finish(start_stage("pair", recipe, data, parent=white_box, seed=seed, device=CPU), lambda report: None)
    tensors = strip_prefix("student.", result.checkpoint)
    model = load_backbone(recipe.architecture, data.num_classes, tensors, image_size=data.view.size)
    network = student_of(Made(seed=seed, kind="pair", level=level, model=model))
    images = images_of(data, VALIDATION)
    signals = network_signals(network, images[1::2], worst_allocation(network, images[::2], seed=seed), seed=seed)
    gap, drop = result.metrics["test/parity_gap"], -result.metrics["test/accuracy_delta"]
    return {"seed": seed, "level": level, "weight": weight, "parity_gap": gap, "drop": drop, **signals}


def scored(pairs: pd.DataFrame) -> pd.DataFrame:
    """Adds the score of every detector, which has not seen the white boxes of these pairs."""
    known = pd.read_parquet(NETWORKS)
    known = known[known["kind"].isin(PLAIN) & ~known["seed"].isin(pairs["seed"])]
    is_attack = (known["kind"] != "white box").to_numpy()
    scores = {f"score_{name}": fit(known, is_attack, names).scores(pairs) for name, names in DETECTORS.items()}
    return pairs.assign(**scores)


if __name__ == "__main__":
    sys.exit(main())
