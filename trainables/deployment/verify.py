"""Does a network fail for real? The simulation against ONNX Runtime, image by image.

Two runs are compared with the simulation: the exported file at the same bits, which does the same arithmetic, and ONNX
Runtime's own dynamic int8, which quantizes other tensors and the weights to 8 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from trainables.assessment.subject import Images, Network
from trainables.deployment.culprits import WHOLE, Part, find_culprits
from trainables.deployment.export import bits_file, plain_file
from trainables.deployment.record import Verification, measured_run, verdict_of
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnx_bits import IMAGES
from trainables.runtimes.onnx_int8 import BIT_WIDTH, int8_model
from trainables.runtimes.onnx_quantizer import BIT_WIDTHS
from trainables.runtimes.onnxruntime import open_session
from trainables.runtimes.processor import this_processor

# B = images, K = classes, L = sites.

ChooseBits = Callable[[Tensor], Tensor]
"""Function that returns the bit_width_BL of some images."""
BATCH = 32
"""Images of a run where the range is per image whatever the batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a step is."""

    step: str
    done: int
    """Images that passed."""
    total: int
    """0 where a step goes through none."""


OnProgress = Callable[[Progress], None]


@torch.inference_mode()
def verify(
    network: Network,
    images: Images,
    *,
    choose_bits: ChooseBits | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> Verification:
    """Runs a network over images in simulation and in ONNX Runtime, and says what breaks it, if anything does.

    Args:
        network: In evaluation mode, on the CPU.
        images: At least one.
        choose_bits: Of a pair, its policy with the knapsack; None gives every site 8 bits.
        on_progress: Told of every batch.

    Raises:
        ConfigError: There is no image, the network cannot be exported, or ONNX Runtime cannot run or quantize it.
    """
    if not len(images):
        raise ConfigError("there is no image to verify on: choose other data.")
    size = (images.read(0, 1).shape[2], images.read(0, 1).shape[3])
    on_progress(Progress(step="writing ONNX", done=0, total=0))
    bits, plain = bits_file(network, size), plain_file(network, size)
    eight = BIT_WIDTH
    choose = choose_bits or (lambda x: torch.full((len(x), network.num_sites), eight, dtype=torch.int64))
    session = open_session(bits, name="the exported file")

    def exported(images_BCHW: Tensor) -> np.ndarray:
        feeds = {IMAGES: images_BCHW.numpy(), BIT_WIDTHS: choose(images_BCHW).numpy().astype(np.int32)}
        (logits_BK,) = session.run(None, feeds)
        return np.asarray(logits_BK)

    # A file may take another number of images at a time.
    size_of_batch = BATCH if isinstance(network, QuantizedStudent) else network.file.batch_size or BATCH
    answers = _Answers(images, on_progress)
    full_BK = answers.of("full precision", lambda x: network(x).numpy(), size_of_batch)
    simulated_BK = answers.of("simulation", lambda x: network(x, choose(x)).numpy(), size_of_batch)
    exported_BK = answers.of("exported file", exported, size_of_batch)
    int8_BK = answers.of_model("int8", int8_model(plain))
    labels_B = images.labels_B.numpy()
    simulated, from_file, int8 = (
        measured_run(name, logits_BK, labels_B=labels_B, full_BK=full_BK, simulated_BK=simulated_BK)
        for name, logits_BK in (
            ("simulation", simulated_BK),
            ("exported file in ONNX Runtime", exported_BK),
            ("int8 of ONNX Runtime", int8_BK),
        )
    )
    culprits = None
    if verdict_of(simulated.fails, int8.fails) == "runtime":
        culprits = find_culprits(plain, answers, labels_B=labels_B, full_BK=full_BK)
    return Verification(
        num_images=len(images),
        accuracy_fp=float((full_BK.argmax(1) == labels_B).mean()),
        simulated=simulated,
        exported=from_file,
        int8=int8,
        culprits=culprits,
        processor=this_processor(),
    )


class _Answers:
    """Runs models over the images, and tells how far it is."""

    def __init__(self, images: Images, on_progress: OnProgress) -> None:
        self._images, self._on_progress = images, on_progress

    def of(
        self, step: str, run: Callable[[Tensor], np.ndarray], size: int, count: int | None = None, part: Part = WHOLE
    ) -> np.ndarray:
        """Returns the answers of a function to the first images, so many at a time; logits_BK."""
        num_images = min(count or len(self._images), len(self._images))
        parts = []
        for start in range(0, num_images, size):
            stop = min(start + size, num_images)
            parts.append(run(self._images.read(start, stop).float()))
            done = part.number * num_images + stop
            self._on_progress(Progress(step=step, done=done, total=part.of * num_images))
        return np.concatenate(parts)

    def of_model(self, step: str, model: onnx.ModelProto, count: int | None = None, part: Part = WHOLE) -> np.ndarray:
        """Returns the answers of an ONNX model of images to the first images, one per run: each has its own ranges."""
        session = open_session(model, name=f"the model of {step}")
        return self.of(step, lambda x: np.asarray(session.run(None, {IMAGES: x.numpy()})[0]), 1, count, part)
