"""An attack that knows which sites are pinned spends its bits on the others."""

import torch

from tests.trainables.models.networks import create, noise
from trainables.attacks.free_sites import DifferentiableFreeSites
from trainables.attacks.scores import GradientScores
from trainables.quant.student import QuantizedStudent

PINNED = {0: 0, 5: 8}


def networks() -> tuple[QuantizedStudent, DifferentiableFreeSites]:
    pinned = QuantizedStudent(create("test_resnet")).eval().with_pinned(PINNED)
    return pinned, DifferentiableFreeSites(pinned, PINNED)


def test_bits_of_free_sites_are_those_of_the_network_and_pins_stay() -> None:
    pinned, free = networks()
    images, bits_BL = noise(4), torch.full((4, free.num_sites), 3)
    assert free.num_sites == pinned.num_sites - 2
    assert [site.name for site in free.sites] == [site.name for site in pinned.sites if site.index not in PINNED]
    everywhere = torch.full((4, pinned.num_sites), 3)
    assert torch.equal(free(images, bits_BL), pinned(images, everywhere))
    assert torch.equal(free(images), pinned.model(images))
    seen: dict[int, torch.Tensor] = {}
    all_seen: dict[int, torch.Tensor] = {}
    free.observe(images, bits_BL, lambda number, x: seen.update({number: x.clone()}))
    pinned.observe(images, everywhere, lambda site, x: all_seen.update({site: x.clone()}))
    kept = [x for site, x in all_seen.items() if site not in PINNED]
    assert list(seen) == list(range(free.num_sites))
    assert all(torch.equal(x, y) for x, y in zip(seen.values(), kept, strict=True))


def test_scores_of_free_sites_are_those_of_the_same_sites_of_the_network() -> None:
    pinned, free = networks()
    images, labels_B = noise(4), torch.tensor([0, 1, 2, 3])
    own = GradientScores(free, (3, 8))(images, labels_B, torch.full((4, free.num_sites), 8))
    all_sites = GradientScores(pinned, (3, 8))(images, labels_B, torch.full((4, pinned.num_sites), 8))
    kept = [site for site in range(pinned.num_sites) if site not in PINNED]
    assert torch.equal(own, all_sites[:, kept])
    assert all_sites[:, list(PINNED)].abs().max() == 0
