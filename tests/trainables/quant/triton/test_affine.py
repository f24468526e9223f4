"""The Triton quantizer without a GPU: interpreted in a process of its own, compiled, and absent."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search_spaces.errors import ConfigError
from trainables.quant.affine import choose_backend, fake_quantize
from trainables.quant.triton import affine as affine_triton

ROOT = Path(__file__).resolve().parents[4]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
KERNELS = [
    ("_find_tile_ranges", "x *fp32 i32", {"BLOCK": 2048}),
    ("_quantize_tiles", "x *fp32 *i64 *i64 x *fp32 i32 i32", {"PARTIALS": 128, "BLOCK": 2048}),
    (
        "_sum_tiles",
        "x x *fp32 *i64 x *fp32 i32 i32",
        {"COPIES_GRAD": True, "NUM_OPTIONS": 3, "OPTIONS": 4, "BLOCK": 2048},
    ),
    ("_add_at_extremes", "x *fp32 *i64 *fp32 *fp64 x i32 i32", {"BLOCK": 2048}),
]


@needs_triton
def test_interpreted_kernels_agree_with_the_other_backends(run_interpreted):
    run_interpreted("tests/trainables/quant/triton/interpreted/affine_cases.py")


@needs_triton
@pytest.mark.parametrize(("name", "arguments", "constants"), KERNELS)
def test_kernels_compile_for_a_gpu_that_is_not_here(name, arguments, constants, compile_to_ptx):
    kernel = getattr(affine_triton, name)
    kinds = ["*fp16" if kind == "x" else kind for kind in arguments.split()]
    signature = dict(zip(kernel.arg_names, kinds + ["constexpr"] * len(constants), strict=True))
    ptx = compile_to_ptx(kernel, signature, constants, enable_fp_fusion=name == "_sum_tiles")
    if name == "_quantize_tiles":
        # True division and no fused rounding: the values are those of torch.
        assert "div.rn.f32" in ptx
        assert not any(approximate in ptx for approximate in ("div.full", "div.approx", "rcp.approx", "fma.rn.f32"))


def test_without_triton_the_other_backends_work():
    program = """
import sys
sys.modules["triton"] = None
import torch
from trainables.quant import affine, knapsack
print(affine.fake_quantize(torch.tensor([[0.0, 1.0, 2.2, 3.0]]), torch.tensor([2])).tolist())
print(knapsack.select(torch.tensor([[[0.1, 0.9], [0.2, 0.8]]]), (4, 8), 12).tolist())
print(affine.affine_triton.why_unserved(torch.zeros(1)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["[[0.0, 1.0, 2.0, 3.0]]", "[[1, 0]]"]
    assert "triton is not installed" in done.stdout


@needs_triton
def test_forcing_triton_on_the_cpu_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setenv("DPTQ_QUANTIZER", "triton")
    with pytest.raises(ConfigError, match="set TRITON_INTERPRET=1 before the process starts"):
        fake_quantize(torch.zeros(1, 2), torch.tensor([4]))


def test_an_unknown_backend_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("DPTQ_QUANTIZER", "cuda")
    with pytest.raises(ConfigError, match="set it to torch, numba or triton"):
        choose_backend(torch.zeros(1))
