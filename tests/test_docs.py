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
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
LINKED = (*PAGES, ROOT / "CHANGELOG.md", ROOT / "tests/benchmarks/RESULTS.md")
TEXTS = {page: page.read_text() for page in LINKED}
EXTENSIONS = "\n".join(path.read_text() for path in (ROOT / "tests/extend").glob("*.py"))
"""What the tests of extensions add: the worked examples of docs/developing.md are theirs."""
README_LINES = 200
SENTENCE_WORDS = 30


def name_of(page: Path) -> str:
    """Returns a page's path below the root, for the names of tests."""
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    """Leaves out blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def command_lines(page: Path) -> list[str]:
    """Returns the command lines that a page tells people to type."""
    text = TEXTS[page].replace("\\\n", " ")
    return sorted(set(re.findall(rf"dptq-sweep (?:{'|'.join(COMMANDS)})\b[^`\n#|]*", text)))


def anchors(page: Path) -> set[str]:
    """Returns what a link to a heading of a page may end in."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ +(.+?) *$", without_code(TEXTS[page]), flags=re.MULTILINE):
        slug = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return names


def sentences(text: str) -> list[str]:
    """Splits Markdown into sentences: of paragraphs, list items, headings and cells of tables; code is left out.

    A span of code counts as one word and a link as its text, since neither is read word by word.
    """
    text = re.sub(r"`[^`]*`", "CODE", without_code(text))
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\*\*|(?<!\w)\*(?=\w)|(?<=[\w.])\*(?!\w)", "", text)
    blocks: list[str] = [""]
    for line in text.splitlines():
        if line.startswith("|"):
            blocks += [*line.strip("|").split("|"), ""]
        elif not line.strip() or line.startswith("#"):
            blocks += [line, ""]
        elif re.match(r" *([*-]|\d+\.) ", line):
            blocks.append(line)
        else:
            blocks[-1] += f" {line}"
    return [each for block in blocks for each in re.split(r"(?<=[.!?])\s+(?=[^a-z\s])", block.strip()) if each]


def num_words(sentence: str) -> int:
    """Counts words; a dash or a bullet is none."""
    return len([word for word in sentence.split() if re.search(r"\w", word)])


def test_a_sentence_ends_at_its_full_stop_its_cell_and_its_item() -> None:
    text = "# A title\n\nOne `x. y z` two,\nthree 1.5. Four **five**.\n\n| a b | c. D |\n\n* six\n  seven\n* eight\n"
    found = sentences(f"{text}\n```sh\nnot read\n```\n")
    prose = ["# A title", "One CODE two, three 1.5.", "Four five."]
    assert found == [*prose, "a b", "c.", "D", "* six   seven", "* eight"]
    assert [num_words(sentence) for sentence in found] == [2, 5, 2, 2, 1, 1, 2, 1]


def test_readme_fits_on_its_page() -> None:
    assert len(TEXTS[README].splitlines()) <= README_LINES


def test_readme_has_no_long_sentence() -> None:
    assert [sentence for sentence in sentences(TEXTS[README]) if num_words(sentence) > SENTENCE_WORDS] == []


def test_readme_shows_every_command() -> None:
    assert {shlex.split(line)[1] for line in command_lines(README)} == set(COMMANDS)


def test_every_page_is_in_the_index_of_the_documentation() -> None:
    index = TEXTS[ROOT / "docs/README.md"]
    assert [
        page.name for page in PAGES if page != README and page.name != "README.md" and f"]({page.name})" not in index
    ] == []


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=f"{name_of(page)}: {line}") for page in PAGES for line in command_lines(page)]
)
def test_commands_in_the_documentation_parse(line: str) -> None:
    parse_command(line)


@pytest.mark.parametrize("page", [page for page in PAGES if "```python\n>>>" in TEXTS[page]], ids=name_of)
def test_python_in_the_documentation_runs_as_shown(page: Path) -> None:
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0


def test_python_is_shown_at_all() -> None:
    assert any("```python\n>>>" in TEXTS[page] for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_that_does_not_run_here_is_what_a_test_of_extensions_adds(page: Path) -> None:
    blocks = re.findall(r"```(?:python|jinja)\n(.*?)```", TEXTS[page], flags=re.DOTALL)
    shown = {line.strip() for block in blocks if not block.startswith(">>>") for line in block.splitlines()}
    assert sorted(line for line in shown if line not in EXTENSIONS and "..." not in line) == []


def plan_in_documentation(name: str, folder: Path) -> Plan:
    """Builds the plan of the grid file of this name."""
    found = [re.findall(rf"```yaml\n(name: {name}\b.*?)```", TEXTS[page], flags=re.DOTALL) for page in PAGES]
    ((text,),) = [texts for texts in found if texts]
    (folder / "my.yaml").write_text(text)
    return build_plan(build_grid(str(folder / "my.yaml"), Choices(), num_sites), num_sites)


def test_the_grid_file_in_the_documentation_is_the_sweep_it_says(tmp_path: Path) -> None:
    plan = plan_in_documentation("coarse-bits", tmp_path)
    assert plan.refused == ()
    (said,) = re.findall(
        r"(\d+) trials \((\d+) teacher, (\d+) distill, (\d+) pair\)", (ROOT / "docs/grids.md").read_text()
    )
    assert [len(plan.nodes), *plan.stage_counts().values()] == [int(count) for count in said]


def test_the_grid_of_the_ten_repetitions_is_one_cell_in_the_default_space(tmp_path: Path) -> None:
    plan = plan_in_documentation("ten", tmp_path)
    cells = plan.grid.cells
    assert len(cells) == len({cell.seed for cell in cells}) == 10
    assert {(cell.architecture, cell.option_set, cell.budget_level) for cell in cells} == {("resnet10t", "III", "B")}
    assert {cell.recipe.epochs for cell in cells} == {20}
    assert plan.grid.search.space == LossSpace()


def make_targets(page: Path) -> set[str]:
    """Returns the targets that a page tells people to make."""
    return set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXTS[page], flags=re.MULTILINE))


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_make_targets_in_the_documentation_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert make_targets(page) <= set(targets)


def test_every_make_target_is_documented() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony
    shown = re.findall(r"^make ([a-z-]+)", TEXTS[ROOT / "docs/developing.md"], flags=re.MULTILINE)
    assert set(phony[1].split()) == set(shown)


def links(page: Path) -> list[str]:
    """Returns the targets of a page's links to files and headings."""
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", without_code(TEXTS[page]))


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and (target not in TEXTS or anchor not in anchors(target))):
            broken.append(link)
    assert broken == []


def paths_in_backticks(page: Path) -> list[str]:
    """Returns the paths of the repository that a page names."""
    folders = "tests|docs|orchestrator|trainables|search_spaces|cluster|[.]ci"
    return re.findall(rf"`((?:{folders})/[\w/.-]*)`", without_code(TEXTS[page]))


def test_what_is_checked_of_the_pages_is_found_there() -> None:
    developing = ROOT / "docs/developing.md"
    assert {"test", "quick"} <= make_targets(README)
    assert "results.md#gpu" in links(developing)
    assert all(
        f"docs/{name}.md" in {link.partition("#")[0] for link in links(README)} for name in ("commands", "results")
    )
    assert {"tests/gpu/run.py", ".ci/run", "tests/test_docs.py"} <= set(paths_in_backticks(developing))
    assert len(command_lines(README)) >= len(COMMANDS)


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_paths_in_backticks_exist(page: Path) -> None:
    paths = paths_in_backticks(page)
    assert [path for path in paths if not (ROOT / path).exists() and path not in EXTENSIONS] == []


def test_recipe_fields_in_the_table_of_decisions_exist() -> None:
    fields = {*TeacherRecipe.model_fields, *DistillRecipe.model_fields, *PairRecipe.model_fields}
    named = set(re.findall(r"\(`([a-z_]+)[`:]", TEXTS[ROOT / "docs/decisions.md"]))
    assert {"kd_scaled", "batch_norm", "range_gradient", "profits", "weight_bit_width"} <= named
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
    folders = ("search_spaces", "trainables", "cluster", "orchestrator", "tests", "docs", ".ci")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    paths = [path for path in (*inside, *ROOT.iterdir()) if path.is_file() and path.suffix != ".png"]
    assert len(paths) > 200
    assert [path for path in paths if any(host.encode() in path.read_bytes() for host in registries)] == []


def test_every_dependency_says_why_it_is_there() -> None:
    block = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("\n]")[0]
    lines = [line for line in block.splitlines() if line.strip().startswith('"')]
    assert len(lines) > 20
    assert [line for line in lines if "#" not in line] == []
