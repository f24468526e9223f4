"""What is mutated, in rooms, and which tests look at a module: the nearest first, by name and by imports."""

import ast
import fnmatch
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Room:
    """Modules that belong together, and their share of a sample.

    Attributes:
        share: Mutants of this room among 150.
        modules: Patterns of their paths; `*` goes through folders.
        oracles: Test files that watch all of them, looked at right after the tests of a module itself.
    """

    share: int
    modules: tuple[str, ...]
    oracles: tuple[str, ...] = ()


_TRAINING = (
    "tests/trainables/test_training_oracles.py",
    "tests/trainables/test_stage_oracles.py",
    "tests/trainables/test_recipe_fields.py",
)
ROOMS: dict[str, Room] = {
    "training": Room(
        share=45,
        modules=(
            "trainables/stages/*",
            "trainables/losses.py",
            "trainables/training_loop.py",
            "trainables/optim.py",
            "trainables/evaluation.py",
            "trainables/stage_runner.py",
            "trainables/checkpoints.py",
            "trainables/models/*",
        ),
        oracles=_TRAINING,
    ),
    "data": Room(share=15, modules=("trainables/data/*",)),
    "quantizer": Room(share=22, modules=("trainables/quant/*",), oracles=_TRAINING[1:2]),
    "search": Room(
        share=17,
        modules=("orchestrator/search/*",),
        oracles=(
            "tests/orchestrator/search/test_samplers.py",
            "tests/orchestrator/launch/test_search_runs.py",
            "tests/orchestrator/launch/test_object_store.py",
        ),
    ),
    "store": Room(
        share=17, modules=("orchestrator/store/*",), oracles=("tests/orchestrator/launch/test_object_store.py",)
    ),
    "plan": Room(
        share=17,
        modules=("orchestrator/plan.py", "search_spaces/*"),
        oracles=("tests/orchestrator/test_plan.py", "tests/search_spaces/grids/test_grids.py"),
    ),
    "reports": Room(share=17, modules=("orchestrator/reports/*", "orchestrator/results/*")),
}
NOT_HERE = ("*/__init__.py", "trainables/quant/triton/*")
"""Kernels of a GPU are looked at by `make gpu`."""

SLOW = (
    *("tests/gpu/", "tests/trainables/test_gpu.py", "tests/trainables/quant/triton/"),
    *("tests/extend/", "tests/cluster/", "tests/test_"),
    *("tests/orchestrator/launch/", "tests/orchestrator/cli/"),
)
"""Tests of GPUs and of whole programs: too slow for one mutant, and seldom what notices it. Oracles are used anyway."""
NEAR = 4
"""Imports between a test and a module at most."""


def modules_of(room: Room) -> list[str]:
    """Returns the paths of a room's modules, sorted."""
    return [
        path
        for path in tracked("*.py")
        if any(fnmatch.fnmatch(path, pattern) for pattern in room.modules)
        and not any(fnmatch.fnmatch(path, pattern) for pattern in NOT_HERE)
    ]


def tests_of(module: str, oracles: tuple[str, ...]) -> list[str]:
    """Returns test files that see a module: those of its name, the room's oracles, those beside, then by imports."""
    distance = dict(_importers(module))
    tests = [path for path in distance if Path(path).name.startswith("test_")]
    tests = [path for path in tests if path in oracles or not path.startswith(SLOW)]
    beside = f"tests/{Path(module).parent}/"

    def nearness(path: str) -> tuple[bool, bool, bool, int, str]:
        is_beside = path.startswith(beside)
        return not _mirrors(path, module), path not in oracles, not is_beside, distance[path], path

    near = sorted(tests, key=nearness)
    own = [module] if ">>> " in (ROOT / module).read_text() else []
    return own + near


@cache
def tracked(*patterns: str) -> list[str]:
    """Returns the paths of the repository's files, also new ones that Git does not ignore."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    paths = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(path for path in paths if (ROOT / path).is_file())


def _mirrors(test: str, module: str) -> bool:
    """Tells whether a test file is of this module or of its folder."""
    folder, path = Path(test).parent.relative_to("tests"), Path(module)
    names = {path.parent: path.stem, path.parent.parent: path.parent.name}
    return folder in names and Path(test).stem.startswith(f"test_{names[folder]}")


def _importers(module: str) -> Iterator[tuple[str, int]]:
    """Yields the files that import a module, and by how many imports they are away."""
    importers: dict[str, list[str]] = {}
    for path, imported in _imports().items():
        for other in imported:
            importers.setdefault(other, []).append(path)
    seen, edge = {module}, [module]
    for distance in range(1, NEAR + 1):
        edge = sorted({path for other in edge for path in importers.get(other, ())} - seen)
        seen.update(edge)
        yield from ((path, distance) for path in edge)


@cache
def _imports() -> Mapping[str, frozenset[str]]:
    files = tracked("*.py")
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in files}
    found = {}
    for path in files:
        wanted: set[str] = set()
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
        found[path] = frozenset(names[name] for name in wanted if name in names)
    return found
