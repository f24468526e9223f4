"""What a repair is worth is measured against attacks that search on the repaired network."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pandas as pd
import pytest
import torch
from torch import Tensor

from search_spaces.budgets import OPTION_SETS
from tests.trainables.assessment.test_run import Stripes, subject
from trainables.assessment.figures import figures_of
from trainables.assessment.link_scan import scan_links
from trainables.assessment.repairs.cures import Cure
from trainables.assessment.repairs.measure import AS_IT_IS, measure_repairs
from trainables.assessment.sites import measure_sites
from trainables.assessment.subject import Network, Subject, logits, quantizable
from trainables.losses import leads
from trainables.models.links import find_links, rescale

BITS, SCANNED = 4, 16


@pytest.fixture(scope="module")
def failing() -> Subject:
    model = Stripes().eval()
    link = next(link for link in find_links(model) if link.name.startswith("edges"))
    rescale(model, link, 1, 2.0**7)
    return replace(subject(), network=quantizable(model, weight_bit_width=16, device=torch.device("cpu")))


@pytest.fixture(scope="module")
def measured(failing: Subject) -> dict[str, pd.DataFrame]:
    images = failing.selection.first(SCANNED)
    bits_BL = torch.full((len(images), 2), BITS)
    sites = measure_sites(failing.network, images.all(), images.labels_B, bits_BL).assign(bits=BITS)
    links = scan_links(failing.network.model, list(failing.network.sites))
    return measure_repairs(failing, sites, links, SCANNED, seed=0)


def figures(measured: dict[str, pd.DataFrame], name: str) -> pd.DataFrame:
    table = measured["cure_figures"]
    return table[table["name"] == name].set_index("rung")


def allocations(free: int) -> Iterator[tuple[int, ...]]:
    return (bits for bits in product(OPTION_SETS["I"], repeat=free) if sum(bits) == BITS * free)


def all_logits(network: Network, images: object) -> list[Tensor]:
    """Logits under every allocation of two sites at the budget."""
    return [logits(network, images, torch.tensor(bits).expand(len(images), 2)) for bits in allocations(2)]  # type: ignore[arg-type,call-overload]


@pytest.mark.parametrize("kind", ["", "channel_ranges", "equalization"])
def test_attacks_on_a_repaired_network_find_what_brute_force_finds_there(
    failing: Subject, measured: dict[str, pd.DataFrame], kind: str
) -> None:
    cure = Cure(kind=kind) if kind else None  # type: ignore[arg-type]  # one of the kinds
    network = cure.applied_to(failing.network, failing.test.read(0, 4)) if cure else failing.network
    chosen_on, test = failing.selection.first(SCANNED), failing.test
    values = []
    for logits_BK in all_logits(network, chosen_on):
        accuracy = (logits_BK.argmax(1) == chosen_on.labels_B).double().mean().item()
        values.append((accuracy, leads(logits_BK.softmax(1), chosen_on.labels_B).double().mean().item()))
    worst = min(range(len(values)), key=values.__getitem__)
    expected = figures_of(failing.reference, all_logits(network, test)[worst].argmax(1).numpy())
    row = figures(measured, cure.name if cure else AS_IT_IS).loc["worst_static"]
    assert (row["accuracy"], row["drop"]) == (expected.accuracy, expected.drop)
    assert (row["drop_low"], row["drop_high"]) == (expected.drop_low, expected.drop_high)
    some = failing.test.spread(SCANNED)
    right_AB = torch.stack([each.argmax(1) == some.labels_B for each in all_logits(network, some)])
    per_image = figures(measured, cure.name if cure else AS_IT_IS).loc["worst_per_image"]
    assert per_image["num_images"] == SCANNED
    assert per_image["accuracy"] == right_AB.all(0).double().mean().item()


def test_budgets_count_the_sites_that_a_repair_leaves_free(measured: dict[str, pd.DataFrame]) -> None:
    cures = measured["cures"]
    for row in cures[cures["kind"] == "sites"].to_dict("records"):
        spared = int(row["name"].partition(" ")[0])
        assert set(figures(measured, row["name"])["budget"]) == {BITS * (2 - spared)}
    assert set(figures(measured, "ranges per channel")["budget"]) == {2 * BITS}
    assert (cures["kind"] == "sites").any()


def test_accuracies_of_the_attacks_stand_in_the_yaml(measured: dict[str, pd.DataFrame]) -> None:
    row = measured["cures"].set_index("kind").loc["equalization"]
    assert f"worst_static: {row['worst_static']}" in row["ours"]
    assert row["worst_static"] == figures(measured, "equalized links").loc["worst_static", "accuracy"]


def test_images_are_spread_over_a_dataset_that_is_in_the_order_of_its_classes(failing: Subject) -> None:
    some = failing.test.spread(4)
    assert len(some) == 4
    assert torch.equal(some.read(1, 3), torch.cat([failing.test.read(place, place + 1) for place in (10, 19)]))
    assert failing.test.spread(99) is failing.test
