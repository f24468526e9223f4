"""Help, completion and wrong usage answer at once: nothing heavy is imported for them."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli.main import COMMANDS, dptq_sweep, main
from orchestrator.plan import build_plan
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from search_spaces.analyses import ANALYSES
from search_spaces.dataset_kinds import DATASETS
from search_spaces.grids.build import Choices, build_grid
from search_spaces.grids.named import NAMED_TEMPLATES
from search_spaces.names import GRIDS

HEAVY = ("torch", "torchvision", "timm", "numba", "ray", "mlflow", "optuna", "pandas", "matplotlib", "sklearn", "scipy")
STORE = ("pyarrow", "numpy")
"""What a command needs that reads a storage, and help does not."""
WALK = """
import contextlib, io, json, sys
from orchestrator.cli.main import main
watched, found = json.loads(sys.argv[1]), {}
for line in json.loads(sys.argv[2]):
    before = set(sys.modules) if found else set()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(line.split())
        except SystemExit as exit:
            found[line] = [exit.code, sorted(set(watched) & set(sys.modules) - before)]
print(json.dumps(found))
"""
HELP, WRONG = 0, 2


def lines_of(group: click.Group, path: str = "") -> dict[str, int]:
    """Command lines that only need the options of commands, and the exit code of each."""
    lines = {
        f"{path}--help": HELP,
        f"{path}-h": HELP,
        f"{path}no-such-command": WRONG,
        f"{path}--no-such-option": WRONG,
    }
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            lines |= lines_of(command, f"{path}{name} ")
        else:
            lines |= {f"{path}{name} -h": HELP, f"{path}{name} --no-such-option": WRONG}
    return lines


LINES = lines_of(dptq_sweep)


def walk(watched: tuple[str, ...], lines: list[str], folder: Path) -> dict[str, tuple[int, list[str]]]:
    """Runs command lines in one new process: by line the exit code, and what of the watched it was first to import."""
    arguments = [sys.executable, "-c", WALK, json.dumps(watched), json.dumps(lines)]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=True)
    found: dict[str, tuple[int, list[str]]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str]]]:
    return walk((*HEAVY, *STORE), list(LINES), tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("line", LINES)
def test_help_and_wrong_usage_import_nothing_heavy(answers: dict[str, tuple[int, list[str]]], line: str) -> None:
    assert answers[line] == [LINES[line], []]


def test_help_imports_little_more_than_click() -> None:
    count = "import sys; print(len(sys.modules))"
    help_of_all = f"from orchestrator.cli.main import main\ntry: main(['-h'])\nexcept SystemExit: pass\n{count}"
    codes = (f"import click, rich.console, rich.table; {count}", help_of_all)
    bare, ours = (
        int(subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-1]) for code in codes
    )
    assert ours < 1.5 * bare


def test_plan_and_status_of_known_networks_never_import_torch_or_ray(tmp_path: Path) -> None:
    sweep = Sweep(Store(str(tmp_path / "dptq-sweeps")), "mine")
    sweep.save_plan(build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15))
    sweep.save_launch(LaunchOptions())
    watched = ("torch", "ray", "mlflow", "optuna", "matplotlib")
    found = walk(watched, ["plan --grid quick", "status", "ls", "gc --plan"], tmp_path)
    assert set(map(tuple, (map(str, each) for each in found.values()))) == {("0", "[]")}


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("lunch", "No such command 'lunch'. Did you mean 'launch'? See `dptq-sweep --help`."),
        ("cluster rendr", "No such command 'rendr'. Did you mean 'render'? See `dptq-sweep cluster --help`."),
        ("status --storag x", "No such option '--storag'. Did you mean '--storage'? See `dptq-sweep status --help`."),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest_one(
    typed: str, nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(typed) == WRONG
    assert capsys.readouterr().err == f"Error: {nearest}\n"


@pytest.mark.parametrize("columns", [80, 110, 200])
@pytest.mark.parametrize("group", [dptq_sweep, dptq_sweep.commands["cluster"]], ids=["dptq-sweep", "cluster"])
def test_no_summary_of_a_command_is_cut(
    group: click.Group, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert _run("-h" if group is dptq_sweep else f"{group.name} -h") == HELP
    listed = " ".join(capsys.readouterr().out.partition("Commands:")[2].split())
    assert "..." not in listed
    for name, command in group.commands.items():
        summary = " ".join((command.help or "").partition("\n\n")[0].split())
        assert f"{name} {summary.partition('. ')[0].rstrip('.')}" in listed


@pytest.mark.parametrize(
    ("command", "headings"),
    [
        (
            "launch",
            {"What": "--grid", "Search": "--sampler", "Where": "--storage", "Limits": "--cluster"},
        ),
        (
            "plan",
            {"What": "--seed", "Search": "--pruner", "Where": "--storage", "Estimate": "--cluster"},
        ),
        ("resume", {"What": "--only", "Where": "--address", "Limits": "--no-caps", "Other": "--on-event"}),
        ("compare", {"What": "--arm", "Search": "--sampler", "Where": "--data-dir", "Limits": "--max-cost"}),
    ],
)
def test_options_stand_under_headings(
    command: str, headings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(f"{command} -h") == HELP
    sections: dict[str, str] = {}
    for line in capsys.readouterr().out.splitlines():
        if line and not line.startswith(" "):
            title = line.partition(":")[0]
        sections[title] = f"{sections.get(title, '')}\n{line}"
    assert {title: option for title, option in headings.items() if f"\n  {option}" in sections[title]} == headings
    options = [each for each in dptq_sweep.commands[command].params if isinstance(each, click.Option)]
    below = "".join(text for title, text in sections.items() if title != "Usage")
    assert [option.name for option in options if below.count(f"\n  {option.opts[0]} ") != 1] == []


def test_help_names_every_grid_dataset_and_analysis(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(NAMED_TEMPLATES) == GRIDS
    _run("launch -h")
    launch = " ".join(capsys.readouterr().out.replace("-\n", "-").split())
    assert f"{', '.join(GRIDS)} (the paper's)" in launch
    _run("analyze -h")
    analyze = capsys.readouterr().out
    assert [name for name in ANALYSES if name not in analyze] == []
    assert [kind for kind in DATASETS if kind not in launch.replace("- ", "-")] == []


def test_every_command_of_the_group_is_known_by_its_name() -> None:
    assert list(COMMANDS) == dptq_sweep.list_commands(click.Context(dptq_sweep))
    assert {name: command.name for name, command in dptq_sweep.commands.items()} == {name: name for name in COMMANDS}


def _run(line: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(line.split())
    return int(exit_info.value.code or 0)
