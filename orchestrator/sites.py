"""How many sites an architecture has, without building it where the number is known."""

import importlib
from functools import cache

from search_spaces import paper

# Checked against the tracer by a test. Tracing another network costs seconds, importing torch alone two.
KNOWN = paper.NUM_SITES | {"test_resnet": 15}


@cache
def num_sites(architecture: str) -> int:
    """Returns the number of quantizable sites of a timm architecture.

    Raises:
        UnknownNameError: timm has no such architecture; names the nearest ones.
        ConfigError: The network cannot be traced, or has no site.
    """
    if architecture in KNOWN:
        return KNOWN[architecture]
    # By name, so that `plan` and `status` of known networks never wait for torch and timm.
    backbones = importlib.import_module("trainables.models.backbones")
    return int(backbones.count_sites(architecture))
