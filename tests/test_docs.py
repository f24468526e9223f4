"""The front door is true: commands, targets, files and pins named in the documentation exist."""

import doctest
import re
import shlex
from importlib.metadata import requires
from pathlib import Path

import click
import pytest

from orchestrator.cli.main import COMMANDS, dptq_sweep
from orchestrator.plan import Plan, build_plan
from orchestrator.workers.entry_points import num_sites
from search_spaces.grids.build import Choices, build_grid
from search_spaces.loss_space import LossSpace
from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe
from tests.command_lines import parse_command

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMAND_LINES = sorted(set(re.findall(rf"dptq-sweep (?:{'|'.join(COMMANDS)})[^`\n#|]*", README.replace("\\\n", " "))))


def test_readme_shows_every_command() -> None:
    assert {shlex.split(line)[1] for line in COMMAND_LINES} == set(COMMANDS)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_commands_in_the_readme_parse(line: str) -> None:
    parse_command(line)


def test_python_in_the_readme_runs_as_shown() -> None:
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0


def plan_in_readme(name: str, folder: Path) -> Plan:
    """Builds the plan of the grid file of this name."""
    (text,) = re.findall(rf"```yaml\n(name: {name}\b.*?)```", README, flags=re.DOTALL)
    (folder / "my.yaml").write_text(text)
    return build_plan(build_grid(str(folder / "my.yaml"), Choices(), num_sites), num_sites)


def test_the_grid_file_in_the_readme_is_the_sweep_it_says(tmp_path: Path) -> None:
    plan = plan_in_readme("coarse-bits", tmp_path)
    assert plan.refused == ()
    (said,) = re.findall(r"(\d+) trials \((\d+) teacher, (\d+) distill, (\d+) pair\)", README)
    assert [len(plan.nodes), *plan.stage_counts().values()] == [int(count) for count in said]


def test_the_grid_of_the_ten_repetitions_is_one_cell_in_the_default_space(tmp_path: Path) -> None:
    plan = plan_in_readme("ten", tmp_path)
    cells = plan.grid.cells
    assert len(cells) == len({cell.seed for cell in cells}) == 10
    assert {(cell.architecture, cell.option_set, cell.budget_level) for cell in cells} == {("resnet10t", "III", "B")}
    assert {cell.recipe.epochs for cell in cells} == {20}
    assert plan.grid.search.space == LossSpace()


def test_make_targets_in_the_readme_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)\b", README)) <= set(targets)


def test_relative_links_and_paths_in_the_readme_resolve() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    paths = re.findall(r"`((?:tests|orchestrator|trainables|search_spaces|cluster)/[\w/.]*)`", README)
    assert links
    assert paths
    assert [path for path in (*links, *paths) if not (ROOT / path).exists()] == []


def test_recipe_fields_in_the_table_of_decisions_exist() -> None:
    fields = {*TeacherRecipe.model_fields, *DistillRecipe.model_fields, *PairRecipe.model_fields}
    table = README.partition("## Decisions and deviations")[2].partition("## Results")[0]
    named = set(re.findall(r"\(`([a-z_]+)[`:]", table))
    assert named
    assert named <= fields


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    command = dptq_sweep.get_command(click.Context(dptq_sweep), name)
    assert command is not None
    for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
        assert each.help
        assert [p.name for p in each.params if isinstance(p, click.Option) and not p.help] == []


def test_every_dependency_is_pinned_and_no_pin_names_a_host() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", line)] == []
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    wanted = {re.match(r"[\w-]+", need)[0].lower().replace("_", "-") for need in requires("dptq-sweep") or []}  # type: ignore[index]
    assert wanted <= pinned


def test_no_file_names_a_host_of_a_registry() -> None:
    registries = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("anaconda", "org"))]
    registries += [".".join(parts) for parts in (("docker", "io"), ("ghcr", "io"), ("quay", "io"), ("gcr", "io"))]
    folders = ("search_spaces", "trainables", "cluster", "orchestrator", "tests", ".ci")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    paths = [path for path in (*inside, *ROOT.iterdir()) if path.is_file() and path.suffix != ".png"]
    assert len(paths) > 200
    assert [path for path in paths if any(host in path.read_text() for host in registries)] == []


def test_every_dependency_says_why_it_is_there() -> None:
    block = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("\n]")[0]
    unexplained = [line for line in block.splitlines() if line.strip().startswith('"') and "#" not in line]
    assert unexplained == []
