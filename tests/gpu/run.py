"""Settles what only a GPU can tell, in nine minutes: correctness, speed, packing, a first result of the paper's grid.

On a bare machine with a GPU, from the root of the repository, with what `make gpu-wheels` collected beside it:

    python3 tests/gpu/run.py

Results appear in $OUT, or in `gpu-results`, after every section: results.md, results.json and figures. A second call
goes on where the first one ended. `--tiny` runs the same code on a CPU, small, in about a minute.
"""

import runpy
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"--job": "tests.gpu.child", "--trial": "tests.gpu.packed_trial"}
"""What the processes run that this script starts itself."""


def start() -> None:
    """Makes the repository's packages importable, and starts the module that the arguments are for."""
    sys.path.insert(0, str(ROOT))
    # Some packages install a folder `tests`, which would win over this one: it has no __init__.
    ours = types.ModuleType("tests")
    ours.__path__ = [str(ROOT / "tests")]
    sys.modules["tests"] = ours
    runpy.run_module(MODULES.get(" ".join(sys.argv[1:2]), "tests.gpu.conduct"), run_name="__main__")


if __name__ == "__main__":
    start()
