"""The import graph only points down: orchestrator -> {trainables, cluster} -> search_spaces."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "search_spaces": set(),
    "trainables": {"search_spaces"},
    "cluster": {"search_spaces"},
    "orchestrator": {"search_spaces", "trainables", "cluster"},
}
# The heavy or stateful packages, and the only packages of ours that may touch each one.
OWNED_BY = {
    "mlflow": {"orchestrator"},
    "ray": {"orchestrator", "cluster"},
    "torch": {"trainables"},
    "torchvision": {"trainables"},
    "timm": {"trainables"},
    "triton": {"trainables"},
    "numba": {"trainables"},
    "optuna": {"orchestrator"},
    "optuna_dashboard": {"orchestrator"},
    "click": {"orchestrator"},
    "yaml": {"search_spaces"},
    "jsonschema": {"cluster"},
    "jinja2": {"orchestrator", "cluster"},
}
# Within a package every module may import from groups below its own only.
ORDER = {
    "trainables": [
        {"trial", "memory_probe"},
        {"stages", "analyses"},
        {"training_loop", "evaluation"},
        {"checkpoints", "optim", "losses", "models", "data"},
        {"quant", "layout"},
    ],
    "orchestrator": [
        {"__main__"},
        {"cli"},
        {"commands"},
        {"watch", "inventory", "reproduction", "estimates"},
        {"prescaling"},
        {"launch", "events", "progress", "facts", "reports", "analyses", "analysis_worker", "agreement"}
        | {"tracking", "tracking_analyses", "tracking_client", "tracking_replay", "tracking_uri"},
        {"dashboard", "frontier", "overview", "packing", "trial_worker", "stopping"},
        {"shared_storage"},
        {"arms", "neighbours", "studies", "sweeps", "integrity", "restarts", "caps"},
        {"allocation", "choice", "step_times"},
        {"usage", "samplers", "deferred", "trial_logs"},
        {"trials", "driver_lock"},
        {"store", "plan", "schedule", "failures", "provenance", "worker_output"},
        {"object_stores"},
    ],
}
MODULES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def imported_names(path: Path) -> set[str]:
    """Dotted names imported anywhere in the file, inside functions and TYPE_CHECKING blocks too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: use absolute imports"
            names.add(node.module or "")
    return names


def relative_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_packages_import_only_what_lies_below_them(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    imported = {name.split(".")[0] for name in imported_names(path)} - {package}
    assert imported & MAY_IMPORT.keys() <= MAY_IMPORT[package]
    for name in imported & OWNED_BY.keys():
        assert package in OWNED_BY[name], f"only {sorted(OWNED_BY[name])} may import {name}"


@pytest.mark.parametrize("path", [p for p in MODULES if p.relative_to(ROOT).parts[0] in ORDER], ids=relative_name)
def test_modules_import_no_module_of_a_higher_group(path: Path) -> None:
    package, *inner = path.relative_to(ROOT).with_suffix("").parts
    if inner == ["__init__"]:
        return
    rank = rank_of(package, inner[0])
    for name in imported_names(path):
        if name.startswith(f"{package}."):
            assert rank_of(package, name.split(".")[1]) >= rank, f"{path.name} must not import {name}"


def rank_of(package: str, module: str) -> int:
    ranks = [rank for rank, group in enumerate(ORDER[package]) if module in group]
    assert ranks, f"{package}.{module} has no place in the order of layers: give it one"
    return ranks[0]


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_imports_of_ours_stand_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text())
    inner = {node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} - set(tree.body)
    hidden = {node.module for node in inner if (node.module or "").split(".")[0] in MAY_IMPORT}
    assert not hidden, f"{path.name} hides imports of {hidden} in a function or a condition"


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=relative_name)
def test_package_files_hold_a_docstring_and_nothing_else(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_files_stay_within_three_hundred_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_every_session_of_ray_says_which_cluster_it_wants() -> None:
    # Without an address Ray joins whatever cluster was started last on this machine.
    calls = [
        (path, node)
        for path in MODULES + TESTS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ray.init"
    ]
    assert len(calls) >= 3
    for path, call in calls:
        assert "address" in {each.arg for each in call.keywords}, f"{relative_name(path)}:{call.lineno}"


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_are_ours_and_not_another_installation(package: str) -> None:
    assert Path(importlib.import_module(package).__file__ or "").is_relative_to(ROOT)


def test_no_import_cycle_between_modules() -> None:
    def module_name(path: Path) -> str:
        return ".".join(path.relative_to(ROOT).with_suffix("").parts)

    graph = {module_name(path): imported_names(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import cycle: {' -> '.join((*above, name))}"
        if name in graph and name not in done:
            for imported in graph[name]:
                visit(imported, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())
