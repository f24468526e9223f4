"""Does it fail for real? A white box, its rescaled copy and a detrimental pair, in simulation and in ONNX Runtime.

    python -m tests.benchmarks.real_runtime FOLDER [--seed 101]

Trains by the recipes of the grid `digits` what FOLDER does not hold yet: two minutes of a core. Every network runs over
the test images at full precision; at 4 bits per site, in simulation and as an exported file in ONNX Runtime; and at 8
bits, in simulation and with ONNX Runtime's own integer kernels. The rescaled copy has the white box's answers at full
precision to the last bit, or the command fails.
"""

import argparse
import copy
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from search_spaces.grids.build import Choices, build_grid
from tests.benchmarks.assess_verdicts import CPU, networks, say
from trainables.assessment.subject import Images, quantizable
from trainables.data.images import TEST
from trainables.data.loading import load_dataset
from trainables.deployment.record import Verification
from trainables.deployment.verify import verify_each
from trainables.models.backbones import count_sites

FEW_BITS = 4
HEADER = ("network", "full precision", "4 bits, simulated", "4 bits, ONNX Runtime", "8 bits, simulated", "8 bits, int8")


def main() -> int:
    """Prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=101)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    grid = build_grid("digits", Choices(), count_sites)
    data = load_dataset(grid.dataset, None)
    images = Images.of_split(data.splits[TEST], data.view, torch.arange(data.num_classes))
    made = dict(networks(grid, data, arguments.seed, arguments.folder))
    for line in table({name: made[name] for name in ("white box", "rescaled", "pair")}, images):
        say(line)
    with torch.inference_mode():
        same = torch.equal(made["white box"](images.all()), made["rescaled"](images.all()))
    say(f"rescaled answers at full precision as the white box, to the last bit: {'yes' if same else 'NO'}")
    return int(not same)


def table(models: dict[str, nn.Module], images: Images) -> list[str]:
    """Returns a Markdown table, accuracies in percent."""
    rows = [HEADER, ["---"] * len(HEADER)]
    for name, model in models.items():
        network = quantizable(copy.deepcopy(model), weight_bit_width=16, device=CPU)

        def few(images_BCHW: Tensor, num_sites: int = network.num_sites) -> Tensor:
            return torch.full((len(images_BCHW), num_sites), FEW_BITS, dtype=torch.int64)

        at_few, at_eight = verify_each(network, images, [few, None])
        rows.append([name, *(f"{100 * accuracy:.1f}" for accuracy in _accuracies(at_few, at_eight))])
    return [f"| {' | '.join(row)} |" for row in rows]


def _accuracies(few: Verification, eight: Verification) -> tuple[float, ...]:
    at_few, at_eight = (few.simulated, few.exported), (eight.simulated, eight.int8)
    return few.accuracy_fp, *(run.accuracy for run in (*at_few, *at_eight))


if __name__ == "__main__":
    sys.exit(main())
