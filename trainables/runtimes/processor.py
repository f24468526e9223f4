"""The processor that a runtime ran on: the same int8 file may answer otherwise on another one."""

import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
VNNI = ("avx512_vnni", "avx_vnni", "avx_vnni_int8")
"""Flags of x86 processors that sum products of uint8 and int8 without saturation."""
OF_INTEREST = ("avx2", "avx512f", *VNNI, "amx_int8", "asimddp", "i8mm", "sve")
"""Flags that choose integer kernels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Processor:
    """What is known of it."""

    name: str
    machine: str
    """Architecture, such as x86_64."""
    flags: tuple[str, ...]
    """Of `OF_INTEREST` those that it has; none where the system does not tell."""

    @property
    def has_vnni(self) -> bool:
        """Whether it has VNNI; without it, x86 kernels may saturate unless `reduce_range` is on."""
        return any(flag in VNNI for flag in self.flags)

    def __str__(self) -> str:
        flags = f": {', '.join(self.flags)}" if self.flags else ""
        return f"{self.name} ({'with' if self.has_vnni else 'without'} VNNI{flags})"


def this_processor(cpuinfo: Path = CPUINFO) -> Processor:
    """Reads what Linux tells of the processor; elsewhere its flags are unknown."""
    try:
        pairs = [line.partition(":")[::2] for line in cpuinfo.read_text().splitlines()]
    except OSError:
        pairs = []
    # The first of each: all cores are alike.
    facts = {key.strip(): value.strip() for key, value in reversed(pairs)}
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return Processor(
        name=facts.get("model name") or platform.processor() or "unknown",
        machine=platform.machine(),
        flags=tuple(flag for flag in OF_INTEREST if flag in flags),
    )
