"""One of several trials that share a GPU: builds a pair, then trains for as long as it is told, again and again.

It is started by `tests.gpu.sections.packing`, reads a number of seconds per line, and answers with a line of JSON.
"""

import json
import sys
import time
from pathlib import Path

from tests.gpu.child import die_with_parent
from tests.gpu.jobs import Context
from tests.gpu.record import Record

CHECK_EVERY = 4
"""Steps between two looks at the clock: each one waits for the GPU, as reading a loss would."""


def main(brought: Path, work: Path, *, is_tiny: bool) -> None:
    """Trains on request until the input ends."""
    die_with_parent()
    # Not before: it takes seconds, in which the parent may end.
    import torch

    from tests.gpu.pair_step import Variant
    from tests.gpu.sections.step import TINY_ARCHITECTURE, build_step

    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    context = Context(
        device=device,
        is_tiny=is_tiny,
        deadline=float("inf"),
        brought=brought,
        work=work,
        folder=work,
        record=Record(work),
    )
    # The kernels are those of the environment, so nothing is applied.
    step = build_step(context, TINY_ARCHITECTURE if is_tiny else "resnet18", Variant())

    def train() -> None:
        for _ in range(CHECK_EVERY):
            step.run()
        if context.is_cuda:
            torch.cuda.synchronize()

    train()
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201
    for line in sys.stdin:
        start, num_steps = time.perf_counter(), 0
        while time.perf_counter() - start < float(line):
            train()
            num_steps += CHECK_EVERY
        seconds = time.perf_counter() - start
        answer = {"images": num_steps * len(step.images_BCHW), "seconds": seconds}
        answer["gb"] = torch.cuda.max_memory_reserved() / 1e9 if context.is_cuda else 0.0
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[2]), Path(sys.argv[3]), is_tiny=sys.argv[4] == "tiny")
