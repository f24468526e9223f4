"""What a plan needs to know of a network that is given, found out before anything runs."""

from collections.abc import Callable

from search_spaces.assessment.recipes import NetworkFacts
from search_spaces.datasets import DatasetSpec
from search_spaces.model import vary
from search_spaces.models import ModelSpec
from trainables.models.registry import open_network
from trainables.models.trial_models import TrainedNetwork
from trainables.quant.sites import find_sites


def look_at(
    uri: str, dataset: DatasetSpec, *, read_trial: Callable[[str], TrainedNetwork] | None = None
) -> NetworkFacts:
    """Opens a network whose URI the user typed in this command, and finds its sites.

    Raises:
        ConfigError: It cannot be read, does not fit the data, or cannot be quantized.
        UnavailableError: A file or a library is not on this machine.
    """
    spec = ModelSpec(uri=uri)
    given = open_network(spec, image_size=dataset.seen_size, is_typed=True, read_trial=read_trial)
    return NetworkFacts(
        model=vary(spec, sha256=given.sha256),
        architecture=given.architecture,
        num_sites=len(find_sites(given.module)),
    )
