"""Kernels use all of a vector, also on the processors where LLVM would take half of it."""

import os
import subprocess
import sys

import llvmlite.binding as llvm
import pytest

PROGRAM = """
import numpy as np
from trainables.quant.compiler import njit
from numba import float32, void

@njit(void(float32[::1], float32, float32[::1]), error_model="numpy")
def round_all(x_N, scale, out_N):
    for i in range(x_N.size):
        out_N[i] = np.rint(x_N[i] / scale)

print(*round_all.inspect_asm().values())
"""


@pytest.mark.skipif(not llvm.get_host_cpu_features().get("avx512f"), reason="vectors here have 256 bits at most")
@pytest.mark.parametrize(("asked", "is_wide"), [({}, True), ({"NUMBA_CPU_FEATURES": "+avx512f,+avx512vl"}, False)])
def test_a_xeon_rounds_as_many_values_at_a_time_as_its_vectors_hold(asked: dict[str, str], is_wide: bool) -> None:
    environment = os.environ | {"NUMBA_CPU_NAME": "icelake-server"} | asked
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    rounding = [line for line in run.stdout.splitlines() if "vrndscaleps" in line or "vroundps" in line]
    assert rounding
    assert any("zmm" in line for line in rounding) == is_wide, "what a user sets stays"
