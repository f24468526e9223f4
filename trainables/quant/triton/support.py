"""Triton, where it is installed; kernels import `jit` and `tl` from here and nowhere else.

Triton comes with the CUDA builds of torch on Linux and is absent elsewhere. Without it the kernels stay plain
functions that are never called, so that the modules that hold them can be imported on any machine.
"""

import os
import shutil
import sysconfig
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

__all__ = ["IS_INSTALLED", "IS_INTERPRETED", "find_obstacle", "jit", "next_power_of_2", "on_device_of", "tl"]


try:
    import triton
    import triton.language as tl
except ImportError:
    IS_INSTALLED = False
    IS_INTERPRETED = False
    # All that the definition of a kernel evaluates is its decorator and its annotations.
    tl = SimpleNamespace(constexpr=int)

    def jit(kernel: Any) -> Any:
        """Returns the kernel as it is."""
        return kernel

else:
    IS_INSTALLED = True
    # Read once: a kernel stays what it was when it was decorated.
    IS_INTERPRETED = bool(triton.knobs.runtime.interpret)
    jit = triton.jit


def find_obstacle(device: torch.device) -> str | None:
    """Says why kernels cannot run on a device and what would help; None where they can.

    Examples:
        >>> find_obstacle(torch.device("meta")) is None
        False
    """
    if not IS_INSTALLED:
        return "triton is not installed; the CUDA builds of torch for Linux bring it along"
    if device.type != "cuda" and not (IS_INTERPRETED and device.type == "cpu"):
        return (
            "Triton's kernels run on CUDA devices; to interpret them on the CPU, slowly, set TRITON_INTERPRET=1 "
            "before the process starts"
        )
    if not IS_INTERPRETED and not _can_build_launchers():
        return "Triton builds its launchers with a C compiler and Python's headers; install both or set CC"
    return None


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Makes the device of `x` the current one, since Triton launches there and not where the data is."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def next_power_of_2(number: int) -> int:
    """Rounds up to a length that `tl.arange` takes.

    Examples:
        >>> [next_power_of_2(number) for number in (1, 5, 8)]
        [1, 8, 8]
    """
    return 1 << (number - 1).bit_length()


@lru_cache(maxsize=1)
def _can_build_launchers() -> bool:
    # Slim container images lack one or both, and Triton would fail at the first launch only.
    has_compiler = bool(os.environ.get("CC")) or any(shutil.which(name) for name in ("gcc", "clang"))
    return has_compiler and Path(sysconfig.get_paths()["include"], "Python.h").is_file()
