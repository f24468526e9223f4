"""What the modules of providers say agrees with the templates and the prices."""

import pytest

from cluster.files.prices import find_machine, read_prices
from cluster.files.render import KINDS
from cluster.providers.registry import PROVIDERS, provider_of, spot_label
from cluster.typed_mapping import Section

NAMES = sorted(PROVIDERS)


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_is_known_by_the_name_of_its_module_and_of_its_template(name: str) -> None:
    assert provider_of({"type": name}) is PROVIDERS[name]
    assert KINDS[name] == f"{name}.yaml.j2"


@pytest.mark.parametrize("name", NAMES)
def test_workers_have_a_gpu_and_a_price_by_default(name: str) -> None:
    machine = find_machine(PROVIDERS[name].default_machine, PROVIDERS[name])
    assert machine.gpus == 1
    assert machine.cpus == 8


def test_every_machine_with_gpus_that_has_a_price_is_told_by_its_name_to_be_one_providers() -> None:
    for name, price in read_prices().prices.items():
        owners = [provider.title for provider in PROVIDERS.values() if provider.has_gpu(name)]
        assert len(owners) == (price.gpus > 0 and price.cpus is not None), (name, owners)


@pytest.mark.parametrize(
    ("provider", "machine", "has_gpu"),
    [("aws", "gr6.4xlarge", True), ("aws", "m7i.large", False), ("gcp", "e2-standard-4", False)],
)
def test_machines_without_a_price_are_told_apart_by_their_names_too(provider: str, machine: str, has_gpu: bool) -> None:
    assert PROVIDERS[provider].has_gpu(machine) is has_gpu


@pytest.mark.parametrize("priority", ["Spot", "low"])
def test_azure_calls_spot_machines_by_two_names(priority: str) -> None:
    described = {"vmSize": "Standard_NC8as_T4_v3", "priority": priority}
    assert PROVIDERS["azure"].rental(Section({"azure_arm_parameters": described}, "")).is_spot


def test_an_external_provider_that_no_module_describes_is_unknown() -> None:
    assert provider_of({"type": "external", "module": "their.NodeProvider"}) is None


@pytest.mark.parametrize("label", ["cloud.google.com/gke-preemptible", "cloud.google.com/gke-spot"])
def test_pods_ask_for_spot_nodes_by_labels_that_are_shown_as_they_stand(label: str) -> None:
    assert spot_label({"disk": "ssd", label: "true"}) == f"{label}: true"
    assert spot_label({label: "false"}) is None
