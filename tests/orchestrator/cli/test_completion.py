"""What the shell offers, asked as bash asks, of a real storage; nothing heavy is imported for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.plan import build_plan
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.dataset_kinds import DATASETS
from search_spaces.grids.build import Choices, build_grid
from search_spaces.names import GRIDS, SAMPLERS

PLAN = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
BEGUN = PLAN.nodes[:2]
PROGRAM = """
import atexit, sys
heavy = {"torch", "ray", "mlflow", "optuna", "pandas", "matplotlib", "pyarrow", "numpy"}
atexit.register(lambda: sys.stderr.write(" ".join(sorted(heavy & set(sys.modules)))))
from orchestrator.cli.main import main
main()
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with a storage of two sweeps, two trials that began and one analysis."""
    store = Store(str(tmp_path / "dptq-sweeps"))
    for name in ("mine", "others"):
        Sweep(store, name).save_plan(PLAN)
    for node in BEGUN:
        trial_of(store, node).write_recipe(node, None)
    store.root.write_bytes("analysis/0123456789abcdef/result.json", b"{}")
    store.root.write_bytes("probes/key.json", b"{}")
    (tmp_path / "my.yaml").write_text("name: mine\nbase: quick\n")
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


def offered(folder: Path, typed: str, storage: str | None = None) -> list[str]:
    """What bash is offered for the last word of a command line; `file` stands for its own files."""
    environment = {name: value for name, value in os.environ.items() if name != "DPTQ_STORAGE"}
    environment |= {"DPTQ_STORAGE": storage} if storage else {}
    environment |= {"_DPTQ_SWEEP_COMPLETE": "bash_complete", "COMP_WORDS": f"dptq-sweep {typed}"}
    environment |= {"COMP_CWORD": str(typed.count(" ") + 1)}
    arguments = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    pairs = [line.split(",", 1) for line in done.stdout.splitlines() if line]
    return [value if kind == "plain" else kind for kind, value in pairs]


UIDS = sorted(node.uid for node in BEGUN)


@pytest.mark.parametrize(
    ("typed", "expected"),
    {
        "st": ["stop", "status"],
        "cluster re": ["render"],
        "cluster render r": ["rayjob", "raycluster"],
        "launch --sampl": ["--sampler"],
        "launch --sampler ": list(SAMPLERS),
        "launch --grid ": [*GRIDS, "my.yaml"],
        "launch --grid m": ["matrix", "my.yaml"],
        "plan --grid grids/": ["file"],
        "launch --dataset ": [f"{kind}:" if info.place else kind for kind, info in DATASETS.items()],
        "launch --dataset folder:/da": ["file"],
        **{f"{command} ": ["mine", "others"] for command in ("status", "report", "resume", "stop", "analyze", "ui")},
        "status m": ["mine"],
        "status --storage dptq-sweeps o": ["others"],
        "status --storage missing ": [],
        "status --storage my.yaml ": [],
        "status --storage s3://bucket/x ": [],
        f"logs {UIDS[0][:4]}": UIDS[:1],
        "logs zz": [],
        "logs --storage missing ": [],
    }.items(),
)
def test_completion_offers_what_may_stand_there(workplace: Path, typed: str, expected: list[str]) -> None:
    assert offered(workplace, typed) == expected


@pytest.mark.parametrize("typed", ["logs ", "reproduce ", "resume mine --only ", "resume --restart "])
def test_completion_offers_the_trials_of_the_storage_and_no_analysis(workplace: Path, typed: str) -> None:
    assert sorted(offered(workplace, typed)) == UIDS


def test_completion_honours_the_storage_of_the_environment(workplace: Path) -> None:
    elsewhere = workplace / "elsewhere"
    elsewhere.mkdir()
    assert offered(elsewhere, "status ") == []
    assert offered(elsewhere, "status ", storage=str(workplace / "dptq-sweeps")) == ["mine", "others"]
    assert offered(elsewhere, "status ", storage=f"file://{workplace}/dptq-sweeps") == ["mine", "others"]
    assert offered(elsewhere, f"status --storage {workplace}/none ", storage=str(workplace / "dptq-sweeps")) == []
