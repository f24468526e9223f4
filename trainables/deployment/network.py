"""A network about to be exported or verified: opened, quantizable, with the policy of its pair if it has one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.recipes import PairRecipe
from trainables.assessment.facts import class_index
from trainables.assessment.subject import Images, Network, quantizable, with_own_answers
from trainables.data.images import TEST, ImageData
from trainables.models.given import DEFAULT_SIZE, GivenNetwork
from trainables.runtimes.onnxruntime import OnnxNetwork
from trainables.stages.pair import Pair

WEIGHT_BITS = 16
"""Bits of the weights of a network that no recipe says them of, as in an assessment."""
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """A network that was opened."""

    given: GivenNetwork
    network: Network
    """Runs quantized, on the CPU."""
    pair: Pair | None = None
    """Of a trained pair: its policy and its recipe."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images, in pixels."""
        if isinstance(self.network, OnnxNetwork) and self.network.file.image_size:
            return self.network.file.image_size
        return self.given.view.size if self.given.view else DEFAULT_SIZE

    def facts(self) -> dict[str, object]:
        """Returns what an exported file tells of itself."""
        view, recipe = self.given.view, self.pair.recipe if self.pair else None
        return {
            "source": self.given.uri,
            "sha256": self.given.sha256,
            "architecture": self.given.architecture,
            "sites": [site.name for site in self.network.sites],
            "bit_widths": list(recipe.bit_widths) if recipe else None,
            "budget": recipe.budget if recipe else None,
            "goal": str(recipe.goal) if recipe else None,
            "weight_bit_width": self.network.weight_bit_width,
            "image_size": list(self.size),
            "mean": list(view.mean) if view else None,
            "std": list(view.std) if view else None,
            "class_names": list(self.given.class_names) if self.given.class_names else None,
        }

    def test_images(self, data: ImageData, class_names: Sequence[str] | None, *, has_labels: bool) -> Images:
        """Returns the test images of a dataset with the network's classes as labels.

        Args:
            data: As the network sees it.
            class_names: Of the network, where it does not say them itself.
            has_labels: Whether the labels of the data count; else the network's answers at full precision do.

        Raises:
            ConfigError: The classes of the data are not among those of the network.
        """
        if not has_labels:
            # The numbers of the data mean nothing, and are replaced.
            unlabelled = Images.of_split(data.splits[TEST], data.view, torch.zeros(data.num_classes).long())
            return with_own_answers(self.network, unlabelled)
        index_C = class_index(self.given, data.class_names, class_names)
        return Images.of_split(data.splits[TEST], data.view, index_C)


def deployed(given: GivenNetwork) -> Deployed:
    """Returns a network without a policy.

    Raises:
        ConfigError: It cannot be quantized.
    """
    return Deployed(given=given, network=quantizable(given.module, weight_bit_width=WEIGHT_BITS, device=CPU))


def deployed_pair(student: GivenNetwork, recipe: PairRecipe, policy: Mapping[str, Tensor]) -> Deployed:
    """Returns a trained pair.

    Args:
        student: With its trained weights.
        recipe: That it was trained by.
        policy: Tensors of its policy, by their names in the module.
    """
    pair = Pair(student.module, recipe)
    pair.policy.load_state_dict(dict(policy))
    pair.eval().requires_grad_(False)
    return Deployed(given=student, network=pair.student, pair=pair)
