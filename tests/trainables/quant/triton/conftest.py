"""What the tests of the Triton kernels share: they run interpreted in another process, and are compiled here."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def run_interpreted() -> Callable[[str], None]:
    """Runs a file of cases with Triton's interpreter; fails with what it printed.

    Triton decides when it is imported, so another process; the interpreter is numpy, which warns of the divisions by
    zero whose results the kernels do not use.
    """

    def run(cases: str) -> None:
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

    return run


@pytest.fixture
def compile_to_ptx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Compiles a kernel for a GPU that need not be there, and returns its PTX."""
    # Imported here, because Triton is absent where torch has no CUDA.
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile_kernel(kernel: Any, signature: dict[str, str], constants: dict[str, Any], **options: Any) -> str:
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        ptx: str = compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["ptx"]
        return ptx

    return compile_kernel
