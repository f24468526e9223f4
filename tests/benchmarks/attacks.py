"""How far the attacks take a trained white box: `python -m tests.benchmarks.attacks CHECKPOINT [passes ...]`.

CHECKPOINT is that of the distillation of a `digits` sweep (test_resnet). Static allocations are chosen on
validation images; everything is measured on the 359 test images.
"""

import sys
import time
from pathlib import Path

import torch

from search_spaces.budgets import OPTION_SETS, budget_from_average
from search_spaces.datasets import DatasetSpec
from search_spaces.paper import AVERAGE_BITS
from trainables.attacks.per_image import Allocated, allocate, worst_per_image, worst_random_per_image
from trainables.attacks.scores import GradientScores
from trainables.attacks.space import Space
from trainables.attacks.static import best_static, worst_static
from trainables.attacks.uniform import uniform
from trainables.checkpoints import from_bytes, strip_prefix
from trainables.data.augment import evaluation_batch
from trainables.data.loading import load_dataset
from trainables.data.view import View
from trainables.models.backbones import load_backbone
from trainables.quant.student import QuantizedStudent


def main(checkpoint: Path, num_passes: list[int]) -> None:
    torch.set_num_threads(1)
    data = load_dataset(DatasetSpec(name="digits", image_size=32))
    tensors = strip_prefix("model.", from_bytes(checkpoint.read_bytes(), source=str(checkpoint)))
    network = QuantizedStudent(load_backbone("test_resnet", 10, tensors, image_size=(32, 32)))
    validation, test = (
        (evaluation_batch(split.images_BCHW, View(32, 32)), split.labels_B)
        for split in (data.splits[name] for name in ("validation", "test"))
    )
    options = OPTION_SETS["I"]
    scorer = GradientScores(network, options)
    leads = GradientScores(network, options, "lead")
    for level, average in AVERAGE_BITS.items():
        space = Space(num_sites=15, bit_widths=options, budget=budget_from_average(average, 15))

        def show(what: str, found: Allocated, start: float, level: str = level) -> None:
            accuracy = (found.predictions_B == test[1]).double().mean()
            passes, seconds = found.passes_B.double().mean(), time.process_time() - start
            print(f"{level} {what:<30} {accuracy:7.2%}  {passes:5.0f} passes  {seconds:5.1f} s", flush=True)  # noqa: T201

        for name, find in {"best static": best_static, "worst static": worst_static}.items():
            start = time.process_time()
            static = find(network, [validation], space, scorer)
            show(name, allocate(network, test[0], static.rows(len(test[0]))), start)
        start = time.process_time()
        show("uniform", allocate(network, test[0], uniform(len(test[0]), space)), start)
        start = time.process_time()
        show("worst of 100 random per image", worst_random_per_image(network, *test, space), start)
        for passes in num_passes:
            for name, given in {"worst per image": None, "worst per image, with scores": leads}.items():
                start = time.process_time()
                show(name, worst_per_image(network, *test, space, scorer=given, max_passes=passes), start)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(each) for each in sys.argv[2:]] or [60, 120])
