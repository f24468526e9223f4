"""The Triton knapsack without a GPU: interpreted in a process of its own, and compiled."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search_spaces.errors import ConfigError
from trainables.quant import mckp_triton
from trainables.quant.mckp import select

ROOT = Path(__file__).resolve().parents[2]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
def test_interpreted_kernel_selects_as_numba():
    # See test_affine_triton.
    cases = "tests/trainables/interpreted/mckp_cases.py"
    options = ["-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::RuntimeWarning"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DPTQ"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, cases],
        cwd=ROOT,
        env=inherited | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_triton
@pytest.mark.parametrize("ones", [(), ("num_sites",), ("rest",)])
def test_kernel_compiles_for_a_gpu_that_is_not_here_and_keeps_its_barriers(ones, tmp_path, monkeypatch):
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = mckp_triton._select_example
    kinds = "*fp32 *i64 *i64 *fp64 *i64 *i64 *i32 i32 i32 i32".split() + ["constexpr"] * 3
    # Triton makes a constant of an argument that is 1.
    constants = {"NUM_OPTIONS": 3, "OPTIONS": 4, "RESTS": 128} | dict.fromkeys(ones, 1)
    signature = dict(zip(kernel.arg_names, kinds, strict=True)) | dict.fromkeys(ones, "constexpr")
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    options = {"num_warps": mckp_triton.NUM_WARPS, "num_stages": 1, "enable_fp_fusion": False}
    ptx = compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["ptx"]
    assert ptx.count("bar.sync") >= 2
    # Neither prefetched past a barrier nor read through the cache that does not see writes.
    assert not re.search(r"cp\.async|ld\.global\.nc", ptx)


@needs_triton
def test_forcing_triton_on_the_cpu_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setenv("DPTQ_KNAPSACK", "triton")
    with pytest.raises(ConfigError, match="set TRITON_INTERPRET=1 before the process starts"):
        select(torch.zeros(1, 2, 2), (3, 4), 7)


def test_an_unknown_backend_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("DPTQ_KNAPSACK", "torch")
    with pytest.raises(ConfigError, match="set it to numba or triton"):
        select(torch.zeros(1, 2, 2), (3, 4), 7)
