"""GPU machines to rent: what they offer to trials, and how to tell one by its name.

The launcher looks machines up on AWS only, and only with credentials; elsewhere it believes what the file says. A file
without `GPU` starts GPU machines on which no GPU trial ever runs, so both are written out.
"""

import re
from dataclasses import dataclass

from search_spaces.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Machine:
    """What one machine offers."""

    name: str
    cpus: int
    gpus: int


_SIZES: dict[str, dict[str, tuple[int, int]]] = {
    # CPUs and GPUs. A trial takes a core and a share of a GPU, at most eight on one: 8 cores per GPU are enough.
    "aws": {
        "g4dn.2xlarge": (8, 1), "g5.xlarge": (4, 1), "g5.2xlarge": (8, 1), "g5.4xlarge": (16, 1),
        "g5.12xlarge": (48, 4), "g6.xlarge": (4, 1), "g6.2xlarge": (8, 1), "g6.4xlarge": (16, 1),
        "g6.12xlarge": (48, 4), "g6e.2xlarge": (8, 1), "g6e.4xlarge": (16, 1), "p4d.24xlarge": (96, 8),
        "p5.48xlarge": (192, 8),
    },
    "gcp": {
        "g2-standard-4": (4, 1), "g2-standard-8": (8, 1), "g2-standard-16": (16, 1), "g2-standard-24": (24, 2),
        "g2-standard-48": (48, 4), "a2-highgpu-1g": (12, 1), "a2-highgpu-4g": (48, 4), "a2-highgpu-8g": (96, 8),
        "a3-highgpu-1g": (26, 1), "a3-highgpu-8g": (208, 8),
    },
    "azure": {
        "Standard_NC8as_T4_v3": (8, 1), "Standard_NC16as_T4_v3": (16, 1), "Standard_NC64as_T4_v3": (64, 4),
        "Standard_NC24ads_A100_v4": (24, 1), "Standard_NC48ads_A100_v4": (48, 2), "Standard_NC96ads_A100_v4": (96, 4),
        "Standard_NC40ads_H100_v5": (40, 1),
    },
}  # fmt: skip
DEFAULT_MACHINES = {"aws": "g6.2xlarge", "gcp": "g2-standard-8", "azure": "Standard_NC8as_T4_v3"}
_GPU_NAMES = {
    "aws": re.compile(r"(p\d|g\d|gr\d)"),
    "gcp": re.compile(r"(a\d|g\d)-"),
    "azure": re.compile(r"Standard_N[CDGV]", re.IGNORECASE),
}


def find_machine(name: str, *providers: str) -> Machine:
    """Looks up a machine.

    Args:
        name: The cloud's own name of it.
        providers: Where to look; `aws`, `gcp`, `azure`.

    Raises:
        UnknownNameError: It is not in the table; names the nearest ones.

    Examples:
        >>> find_machine("g5.12xlarge", "aws")
        Machine(name='g5.12xlarge', cpus=48, gpus=4)
    """
    known = {each: sizes for provider in providers for each, sizes in _SIZES[provider].items()}
    if name not in known:
        raise unknown_name("instance", name, known)
    cpus, gpus = known[name]
    return Machine(name, cpus, gpus)


def has_gpu(name: str, provider: str) -> bool:
    """Tells by the name of a machine whether it has a GPU, known or not.

    Examples:
        >>> has_gpu("g6.xlarge", "aws"), has_gpu("m7i.large", "aws"), has_gpu("e2-standard-4", "gcp")
        (True, False, False)
    """
    return bool(_GPU_NAMES[provider].match(name))
