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
    "onnx": {"trainables"},
    "onnxruntime": {"trainables"},
    "optuna": {"orchestrator"},
    "obstore": {"orchestrator"},
    "optuna_dashboard": {"orchestrator"},
    "click": {"orchestrator"},
    "yaml": {"search_spaces"},
    "jsonschema": {"cluster"},
    "jinja2": {"orchestrator", "cluster"},
}
# Within a package every room may import from the rooms below its own only; rooms side by side do not import each other.
ORDER = {
    "orchestrator": [
        {"__main__"},
        {"cli"},
        {"launch"},
        {"reports", "tracking", "progress"},
        {"analyses"},
        {"results"},
        {"search", "workers", "costs"},
        {"store"},
        {"plan", "console"},
    ],
    "trainables": [
        {"memory_probe"},
        {"stage_runner"},
        {"analyses", "deployment"},
        {"stages"},
        {"recognition"},
        {"assessment"},
        {"training_loop", "evaluation", "attacks"},
        {"checkpoints", "optim", "losses", "models"},
        {"data", "runtimes"},
        {"quant", "memory_format"},
    ],
    "cluster": [
        {"validation"},
        {"remote"},
        {"runtime", "files"},
        {"providers"},
        {"typed_mapping"},
    ],
    "search_spaces": [
        {"analyses"},
        {"grids"},
        {"search", "stages"},
        {"loss_space", "paper", "objective"},
        {"recipes"},
        {"datasets", "models"},
        {"budgets", "model", "pixels", "files", "uris"},
        {"errors", "names", "dataset_kinds"},
    ],
}
# The only modules that may import modules of ours by name, which a reader of imports would not see.
IMPORTS_BY_NAME = {
    "orchestrator/workers/entry_points.py",
    # A stage's module, whose libraries other stages do without.
    "trainables/stages/registry.py",
    # Modules that have the name of an analysis.
    "orchestrator/reports/analyses/registry.py",
    "trainables/analyses/registry.py",
}
# The only module that imports what the user names.
IMPORTS_CODE_OF_USERS = {"trainables/models/python_models.py"}
PACKAGES = {
    ".".join(path.parent.relative_to(ROOT).parts)
    for package in MAY_IMPORT
    for path in (ROOT / package).rglob("__init__.py")
}
MODULES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def imported_names(path: Path) -> set[str]:
    """Dotted names imported anywhere in the file: in functions and TYPE_CHECKING blocks, and by name, too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: use absolute imports"
            module = node.module or ""
            # `from package import module` is an import of the module.
            names |= {f"{module}.{alias.name}" for alias in node.names if module in PACKAGES} or {module}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            names.add(name_in(node, path))
    return names


def name_in(call: ast.Call, path: Path) -> str:
    """The module that a call imports by name; of a name that is put together, what stands before the first brace."""
    if relative_name(path) in IMPORTS_CODE_OF_USERS:
        return ""
    (text,) = call.args[:1]
    if isinstance(text, ast.Constant):
        return str(text.value)
    assert isinstance(text, ast.JoinedStr), f"{relative_name(path)}:{call.lineno} hides what it imports"
    return str(text.values[0].value).rstrip(".") if isinstance(text.values[0], ast.Constant) else ""


def relative_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_packages_import_only_what_lies_below_them(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    imported = {name.split(".")[0] for name in imported_names(path)} - {package}
    assert imported & MAY_IMPORT.keys() <= MAY_IMPORT[package]
    for name in imported & OWNED_BY.keys():
        assert package in OWNED_BY[name], f"only {sorted(OWNED_BY[name])} may import {name}"


def test_onnx_runtime_is_imported_behind_one_door_where_its_telemetry_is_off() -> None:
    importing = [
        relative_name(path)
        for path in MODULES
        if any(name.split(".")[0] == "onnxruntime" for name in imported_names(path))
    ]
    assert importing == ["trainables/runtimes/ort.py"]


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_modules_import_only_from_rooms_below_their_own(path: Path) -> None:
    package, *inner = path.relative_to(ROOT).with_suffix("").parts
    if inner == ["__init__"]:
        return
    for name in imported_names(path):
        room = name.split(".")[1] if name.startswith(f"{package}.") else inner[0]
        if room != inner[0]:
            assert rank_of(package, room) > rank_of(package, inner[0]), f"{relative_name(path)} must not import {name}"


def rank_of(package: str, module: str) -> int:
    ranks = [rank for rank, group in enumerate(ORDER[package]) if module in group]
    assert ranks, f"{package}.{module} has no place in the order of layers: give it one"
    return ranks[0]


def test_every_place_in_the_order_of_layers_is_a_room_or_a_module() -> None:
    there = {
        package: {path.relative_to(ROOT / package).parts[0] for path in MODULES if path.is_relative_to(ROOT / package)}
        for package in ORDER
    }
    for package, groups in ORDER.items():
        assert {name.removesuffix(".py") for name in there[package]} - {"__init__"} == set().union(*groups)


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_imports_of_ours_stand_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text())
    inner = {node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} - set(tree.body)
    hidden = {node.module for node in inner if (node.module or "").split(".")[0] in MAY_IMPORT}
    # A command imports what it runs when it runs: so `--help` waits for no library.
    is_command = path.is_relative_to(ROOT / "orchestrator" / "cli")
    assert not hidden or is_command, f"{path.name} hides imports of {hidden} in a function or a condition"


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_modules_of_ours_are_imported_by_name_in_few_places_only(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    by_name = [
        name_in(call, path) for call in calls if ast.unparse(call.func).endswith(("import_module", "__import__"))
    ]
    if any(name.split(".")[0] in MAY_IMPORT for name in by_name):
        assert relative_name(path) in IMPORTS_BY_NAME


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=relative_name)
def test_package_files_hold_a_docstring_and_nothing_else(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


@pytest.mark.parametrize("path", MODULES, ids=relative_name)
def test_files_stay_within_three_hundred_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_no_room_shows_more_entries_than_a_reader_takes_in_at_a_glance() -> None:
    rooms = {path.parent for path in MODULES}
    entries = {
        relative_name(room): len([e for e in room.iterdir() if e.name not in ("__init__.py", "__pycache__")])
        for room in rooms
    }
    limits = {"orchestrator": 16}
    assert {room: count for room, count in entries.items() if count > limits.get(room, 18)} == {}


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
