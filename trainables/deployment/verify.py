"""Does a network fail for real? The simulation against ONNX Runtime, image by image.

Two runs are compared with the simulation: the exported file at the same bits, which does the same arithmetic, and ONNX
Runtime's own dynamic int8, which quantizes other tensors and the weights to 8 bits. Where torchao is installed, its
dynamic int8 of Linear layers is a third one, which has no part in the verdict.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import onnx
import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from trainables.assessment.subject import Images, Network
from trainables.deployment.culprits import WHOLE, Part, find_culprits
from trainables.deployment.export import bits_file, plain_file
from trainables.deployment.record import EXPORTED, INT8, SIMULATION, TORCHAO, Verification, measured_run, verdict_of
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnx_bits import IMAGES
from trainables.runtimes.onnx_int8 import BIT_WIDTH, int8_model
from trainables.runtimes.onnx_quantizer import BIT_WIDTHS
from trainables.runtimes.onnxruntime import open_session
from trainables.runtimes.ort import onnxruntime
from trainables.runtimes.processor import this_processor
from trainables.runtimes.torchao import linear_int8

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
    return verify_each(network, images, [choose_bits], on_progress=on_progress)[0]


@torch.inference_mode()
def verify_each(
    network: Network,
    images: Images,
    choices: Sequence[ChooseBits | None],
    *,
    on_progress: OnProgress = lambda progress: None,
) -> list[Verification]:
    """Does the same for several ways to choose the bits; whatever no bits change runs once.

    Raises:
        ConfigError: As of `verify`.
    """
    if not len(images):
        raise ConfigError("there is no image to verify on: choose other data.")
    size = (images.read(0, 1).shape[2], images.read(0, 1).shape[3])
    on_progress(Progress(step="writing ONNX", done=0, total=0))
    bits, plain = bits_file(network, size), plain_file(network, size)
    session = open_session(bits, name="the exported file")
    # A file may take another number of images at a time.
    size_of_batch = BATCH if isinstance(network, QuantizedStudent) else network.file.batch_size or BATCH
    answers = _Answers(images, on_progress)
    full_BK = answers.of("full precision", lambda x: network(x).numpy(), size_of_batch)
    answers_of_choices = []
    for choose in (each or _eight_bits(network.num_sites) for each in choices):
        simulated_BK = answers.of("simulation", partial(_simulated, network, choose), size_of_batch)
        exported_BK = answers.of("exported file", partial(_exported, session, choose), size_of_batch)
        answers_of_choices.append((simulated_BK, exported_BK))
    int8_BK, ao = answers.of_model("int8", int8_model(plain)), linear_int8(network, size)
    ao_BK = answers.of("torchao", ao.run, 1) if ao and ao.run else None
    labels_B = images.labels_B.numpy()
    find = cache(lambda: find_culprits(plain, answers, labels_B=labels_B, full_BK=full_BK))

    def verification(simulated_BK: np.ndarray, exported_BK: np.ndarray) -> Verification:
        measure = partial(measured_run, labels_B=labels_B, full_BK=full_BK, simulated_BK=simulated_BK)
        simulated, int8 = measure(SIMULATION, simulated_BK), measure(INT8, int8_BK)
        return Verification(
            num_images=len(images),
            accuracy_fp=float((full_BK.argmax(1) == labels_B).mean()),
            simulated=simulated,
            exported=measure(EXPORTED, exported_BK),
            int8=int8,
            torchao=None if ao_BK is None else measure(TORCHAO, ao_BK),
            torchao_note=ao.note if ao else "",
            culprits=find() if verdict_of(simulated.fails, int8.fails) == "runtime" else None,
            processor=this_processor(),
        )

    return [verification(*each) for each in answers_of_choices]


def _eight_bits(num_sites: int) -> ChooseBits:
    return lambda x: torch.full((len(x), num_sites), BIT_WIDTH, dtype=torch.int64)


def _simulated(network: Network, choose: ChooseBits, images_BCHW: Tensor) -> np.ndarray:
    return np.asarray(network(images_BCHW, choose(images_BCHW)))


def _exported(session: onnxruntime.InferenceSession, choose: ChooseBits, images_BCHW: Tensor) -> np.ndarray:
    feeds = {IMAGES: images_BCHW.numpy(), BIT_WIDTHS: choose(images_BCHW).numpy().astype(np.int32)}
    return np.asarray(session.run(None, feeds)[0])


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
