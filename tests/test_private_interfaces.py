"""What Ray and Optuna promise nobody is used in one module each, so that one place is read again for a new version."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from cluster.runtime import ray_internals
from orchestrator.search import optuna_internals

ROOT = Path(__file__).resolve().parent.parent
HOMES = {"ray": Path(ray_internals.__file__), "optuna": Path(optuna_internals.__file__)}
MODULES = sorted(path for package in ("cluster", "orchestrator") for path in (ROOT / package).rglob("*.py"))
OURS = {"self", "cls"}
PYTHONS_OWN = {"os._exit", "sys._current_frames"}
PRIVATE_NAME = re.compile(r"\b(?:ray|optuna)\.(?:\w+\.)*_\w")


def private_uses(path: Path) -> Iterator[str]:
    """Yields private names of other modules that a file imports, looks up, or names in a string."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{getattr(node, 'module', '')}."
            yield from (
                f"{module}{each.name}" for each in node.names if re.search(r"\._[a-z]", f".{module}{each.name}")
            )
        elif isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            if ast.unparse(node.value) not in OURS and ast.unparse(node) not in PYTHONS_OWN:
                yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and PRIVATE_NAME.match(node.value):
            yield node.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_others_are_touched_in_their_one_module_only(path: Path) -> None:
    found = set(private_uses(path))
    assert bool(found) == (path in HOMES.values()), found


@pytest.mark.parametrize(("library", "module"), [("ray", ray_internals), ("optuna", optuna_internals)])
def test_the_installed_version_is_the_one_in_which_private_names_were_read(library: str, module: object) -> None:
    assert version(library).startswith(f"{module.READ_IN}."), "read the module again, then change its READ_IN"  # type: ignore[attr-defined]
