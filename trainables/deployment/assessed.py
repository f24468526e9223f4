"""What an assessment measures or trains, in ONNX Runtime: on the first test images, as everything else of it."""

import torch

from search_spaces.stages.assessment import AssessRecipe
from trainables.assessment.subject import Images
from trainables.data.images import TEST, ImageData
from trainables.deployment.network import CPU
from trainables.deployment.record import Verification
from trainables.deployment.verify import verify
from trainables.models.given import GivenNetwork
from trainables.stages.assess import subject_of
from trainables.stages.pair import Pair


def verify_network(recipe: AssessRecipe, given: GivenNetwork, data: ImageData, num_images: int) -> Verification:
    """Verifies a network that is assessed, at 8 bits per site.

    Args:
        recipe: Of the part about the network: how it is quantized, and what counts as right.
        given: The network, just opened.
        data: As it sees it.
        num_images: Most test images to run.

    Raises:
        ConfigError: It cannot be exported.
    """
    subject = subject_of(recipe, given, data.to(CPU), CPU)
    return verify(subject.network, subject.test.first(num_images))


def verify_pair(pair: Pair, data: ImageData, num_images: int) -> Verification:
    """Verifies a trained pair at the bits of its policy.

    Args:
        pair: In evaluation mode; it goes to the CPU.
        data: What it was trained on.
        num_images: Most test images to run.

    Raises:
        ConfigError: It cannot be exported.
    """
    pair, data = pair.to(CPU), data.to(CPU)
    images = Images.of_split(data.splits[TEST], data.view, torch.arange(data.num_classes))
    return verify(pair.student, images.first(num_images), choose_bits=pair.bit_widths)
