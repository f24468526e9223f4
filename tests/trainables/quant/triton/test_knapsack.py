"""The Triton knapsack without a GPU: interpreted in a process of its own, and compiled."""

import importlib.util
import re

import pytest
import torch

from search_spaces.errors import ConfigError
from trainables.quant.knapsack import select
from trainables.quant.triton import knapsack as knapsack_triton

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
def test_interpreted_kernel_selects_as_numba(run_interpreted):
    run_interpreted("tests/trainables/quant/triton/interpreted/knapsack_cases.py")


@needs_triton
@pytest.mark.parametrize("ones", [(), ("num_sites",), ("rest",)])
def test_kernel_compiles_for_a_gpu_that_is_not_here_and_keeps_its_barriers(ones, compile_to_ptx):
    kernel = knapsack_triton._select_example
    kinds = "*fp32 *i64 *i64 *fp64 *i64 *i64 *i32 i32 i32 i32".split() + ["constexpr"] * 3
    # Triton makes a constant of an argument that is 1.
    constants = {"NUM_OPTIONS": 3, "OPTIONS": 4, "RESTS": 128} | dict.fromkeys(ones, 1)
    signature = dict(zip(kernel.arg_names, kinds, strict=True)) | dict.fromkeys(ones, "constexpr")
    options = {"num_warps": knapsack_triton.NUM_WARPS, "num_stages": 1, "enable_fp_fusion": False}
    ptx = compile_to_ptx(kernel, signature, constants, **options)
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
