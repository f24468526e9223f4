"""All providers. Every module of this package that does not serve them all is one, so a new one takes no line here."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from cluster import providers
from cluster.providers.base import Provider

PROVIDERS: Mapping[str, Provider] = {
    module.name: importlib.import_module(f"{providers.__name__}.{module.name}").PROVIDER
    for module in pkgutil.iter_modules(providers.__path__)
    if module.name not in ("base", "registry")
}
SPOT_LABELS = {"karpenter.sh/capacity-type": "spot"} | {
    label: value for provider in PROVIDERS.values() for label, value in provider.spot_labels.items()
}
"""Node selectors by which a pod asks for a spot machine, in lower case; Karpenter starts nodes on several providers."""


def provider_of(values: Mapping[str, Any]) -> Provider | None:
    """Returns the provider that `provider` of a launcher file names, None for unknown ones and one's own machines.

    Examples:
        >>> provider_of({"type": "gcp"}).title, provider_of({"type": "local"})
        ('Google Cloud', None)
    """
    if values.get("type") != "external":
        return PROVIDERS.get(str(values.get("type")))
    return next((each for each in PROVIDERS.values() if each.module and each.module == values.get("module")), None)


def spot_label(node_selector: Mapping[str, Any]) -> str | None:
    """Returns the label by which a pod asks for a spot machine, as it stands there; None if it does not.

    Examples:
        >>> spot_label({"eks.amazonaws.com/capacityType": "SPOT"})
        'eks.amazonaws.com/capacityType: SPOT'
    """
    given = node_selector.items()
    return next((f"{label}: {value}" for label, value in given if SPOT_LABELS.get(label) == str(value).lower()), None)
