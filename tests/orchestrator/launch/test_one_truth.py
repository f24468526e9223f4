"""Log, `status`, `ls`, `report`, MLflow and JSON say the same state, count and verdict of a sweep, whatever its end."""

import io
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from orchestrator.cli.storage.ls import command as ls
from orchestrator.cli.sweep.report import command as report
from orchestrator.cli.sweep.status import command as status
from orchestrator.launch.analyses import AnalysesEnd
from orchestrator.launch.ending.audit import compare
from orchestrator.launch.ending.finish import Outcome, finish_sweep
from orchestrator.launch.ending.publish import publish
from orchestrator.plan import Node, Plan
from orchestrator.progress.live import summary_line
from orchestrator.progress.overview import overview_of
from orchestrator.reports.summary import table1_text
from orchestrator.reports.table1 import table1
from orchestrator.reports.terminal import render
from orchestrator.results.cell_verdicts import cell_verdicts
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.results.standing import Standing, standing_of
from orchestrator.results.trials import read_trials
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.store.trial import trial_of
from orchestrator.tracking.tracker import Tracker
from search_spaces.names import Goal
from tests.orchestrator.made_up import pair_metrics, raised
from tests.orchestrator.search_driver import search_plan

Numbers = tuple[str, int, int, int, int]
"""State, and how many trials are done, needed, failed and skipped."""
COUNT = re.compile(r"(\d+) of (\d+) trials done(?:, (\d+) failed)?(?:, (\d+) skipped)?")


@dataclass
class Told:
    """What each place says of one sweep."""

    plan: Plan
    sweep: Sweep
    standing: Standing
    log: str
    texts: dict[str, str] = field(default_factory=dict)
    """Of commands, and of the report's files."""
    tags: dict[str, str] = field(default_factory=dict)
    """Of MLflow's parent run."""


def finish(store: Store, node: Node, *, is_hit: bool = False, num_images: int = 5000) -> None:
    gap, drop = (0.002, 0.6) if is_hit else (0.0, 0.0)
    metrics = pair_metrics(gap, drop, test=(gap, drop), num_test_images=num_images)
    trial_of(store, node).write_result(metrics, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")


def _complete(sweep: Sweep, plan: Plan, stack: ExitStack) -> None:
    for node in plan.nodes:
        finish(sweep.store, node, is_hit=bool(node.cell and node.cell.goal is Goal.DETRIMENTAL))


def _stopped(sweep: Sweep, plan: Plan, stack: ExitStack) -> None:
    for node in plan.nodes[:2]:
        finish(sweep.store, node)
    sweep.ask_to_stop()


def _failed(sweep: Sweep, plan: Plan, stack: ExitStack) -> None:
    _complete(sweep, plan, stack)
    trial = trial_of(sweep.store, plan.nodes[-1])
    trial.folder.delete_folder("")
    trial.write_recipe(plan.nodes[-1], None)
    trial.write_error(raised(RuntimeError("out of luck")))


def _searching(sweep: Sweep, plan: Plan, stack: ExitStack) -> None:
    stack.enter_context(sweep.driver())
    for node in plan.nodes[:3]:
        finish(sweep.store, node)
    trial_of(sweep.store, plan.nodes[3]).write_recipe(plan.nodes[3], None)


def _skipped(sweep: Sweep, plan: Plan, stack: ExitStack) -> None:
    for node in plan.nodes[:2]:
        finish(sweep.store, node)
    first, *others = (node for node in plan.nodes if node.cell)
    finish(sweep.store, first, is_hit=True)
    for node in others:
        if node.is_confirmation:
            finish(sweep.store, node, is_hit=True)


def _empty(sweep: Sweep, plan: Plan, stack: ExitStack) -> None:
    """Nothing has begun."""


Make = Callable[[Sweep, Plan, ExitStack], None]
ONCE = {"trials": 0}
SEARCHED = {"trials": 3, "confirm_seeds": 2}
BOTH = (Goal.ROBUST, Goal.DETRIMENTAL)
SWEEPS: Mapping[str, tuple[Make, Mapping[str, int], tuple[Goal, ...], Numbers]] = {
    "complete": (_complete, ONCE, BOTH, ("complete", 4, 4, 0, 0)),
    "stopped": (_stopped, ONCE, BOTH, ("stopped", 2, 4, 0, 0)),
    "failed": (_failed, ONCE, BOTH, ("complete with failures", 3, 4, 1, 0)),
    "searching": (_searching, SEARCHED, BOTH[1:], ("running", 3, 8, 0, 3)),
    "skipped": (_skipped, SEARCHED, BOTH[1:], ("complete", 5, 5, 0, 6)),
    "empty": (_empty, ONCE, BOTH, ("planned", 0, 4, 0, 0)),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """Six sweeps of one storage, by the programs that end a launch, and what is said of them."""
    store, found = Store(str(tmp_path_factory.mktemp("truth") / "storage")), {}
    with ExitStack() as stack:
        for seed, (name, (make, search, goals, _)) in enumerate(SWEEPS.items(), 1):
            plan, sweep = search_plan(budgets=(82,), seeds=(seed,), goals=goals, **search), Sweep(store, name)
            sweep.save_plan(plan)
            sweep.save_launch(LaunchOptions())
            make(sweep, plan, stack)
            found[name] = _end_launch(sweep, plan)
        for name, each in found.items():
            each.texts = _ask(store, name)
            each.tags = _parent_tags(Path(store.uri) / "mlflow.db", name)
        yield found


def _end_launch(sweep: Sweep, plan: Plan) -> Told:
    """Does what a launch does at its beginning and, unless it goes on, at its end."""
    snapshot, console = Snapshot(plan, sweep.store, ahead=EVERYTHING), Console(file=io.StringIO(), width=130)
    tracker, standing = Tracker(None, sweep.store, sweep.name), standing_of(snapshot, sweep.folder)
    tracker.sweep_tags(standing.as_tags())
    tracker.open(plan, {})
    overview = overview_of(snapshot, has_driver=sweep.has_driver())
    if sweep.has_driver():
        log = f"sweep {sweep.name} is {standing.state}: {summary_line(overview, 1)}"
        return Told(plan=plan, sweep=sweep, standing=standing, log=log)
    ended = publish(tracker, sweep, snapshot, {}, console)
    agreement = compare(snapshot, {}, tracker.statuses())
    outcome = Outcome(
        overview=overview,
        standing=ended,
        analyses=AnalysesEnd(),
        agreement=agreement,
        halted=None,
        is_stopping=ended.state == "stopped",
        cap=None,
    )
    with suppress(SystemExit):
        finish_sweep(sweep, outcome, console)
    log = console.file.getvalue()  # type: ignore[attr-defined]
    return Told(plan=plan, sweep=sweep, standing=ended, log=log)


def _ask(store: Store, name: str) -> dict[str, str]:
    """Runs the commands, and reads what `report` wrote."""
    texts = {}
    for key, command, arguments in (
        ("status", status, [name]),
        ("status.json", status, [name, "--json"]),
        ("ls", ls, []),
        ("ls.json", ls, ["--json"]),
        ("report", report, [name]),
        ("report.json", report, [name, "--json"]),
    ):
        result = CliRunner().invoke(command, [*arguments, "--storage", store.uri], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        texts[key] = result.output
    folder = Path(store.uri) / "sweeps" / name
    return texts | {file: (folder / file).read_text() for file in ("report.md", "report.html")}


def _parent_tags(database: Path, sweep: str) -> dict[str, str]:
    """Reads the tags of a sweep's parent run from the database itself."""
    query = (
        "SELECT tags.key, tags.value FROM tags JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id) "
        "WHERE experiments.name = ? AND run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId')"
    )
    with sqlite3.connect(database) as connection:
        return dict(connection.execute(query, (sweep,)).fetchall())


def in_text(text: str, state: str) -> Numbers:
    """Reads the count out of a text that says the state."""
    assert state in text.lower(), text
    match = COUNT.search(text)
    assert match, text
    done, needed, failed, skipped = (int(number or 0) for number in match.groups())
    return state, done, needed, failed, skipped


def in_json(values: Mapping[str, object]) -> Numbers:
    state, *numbers = (values[name] for name in ("state", "num_done", "num_needed", "num_failed", "num_skipped"))
    return str(state), *map(int, numbers)  # type: ignore[return-value]


def in_tags(tags: Mapping[str, str]) -> Numbers:
    numbers = (int(tags[f"dptq.trials_{name}"]) for name in ("done", "needed", "failed", "skipped"))
    return tags["dptq.state"], *numbers  # type: ignore[return-value]


def in_listing(text: str, name: str) -> Numbers:
    """Reads the line of `ls` that begins with a name."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    match = re.search(r"mnist-5k +(\D+?) +(\d+) of (\d+) +(\d+) +(\d+) ", line)
    assert match, line
    state, *numbers = match.groups()
    return state, *map(int, numbers)  # type: ignore[return-value]


@pytest.mark.parametrize("name", SWEEPS)
def test_every_place_says_the_same_state_and_count(told: dict[str, Told], name: str) -> None:
    each, (*_, expected) = told[name], SWEEPS[name]
    texts, state = each.texts, expected[0]
    (listed,) = (entry for entry in json.loads(texts["ls.json"]) if entry["name"] == name)

    said = {
        "log": in_text(each.log[each.log.index(f"sweep {name} is ") :], state),
        "status": in_text(texts["status"], state),
        "status.json": in_json(json.loads(texts["status.json"])),
        "ls": in_listing(texts["ls"], name),
        "ls.json": in_json(listed),
        "report": in_text(texts["report"], state),
        "report.json": in_json(json.loads(texts["report.json"])["sweep"]),
        "report.md": in_text(texts["report.md"], state),
        "report.html": in_text(texts["report.html"], state),
        "mlflow": in_tags(each.tags),
    }

    assert said == dict.fromkeys(said, expected)


@pytest.mark.parametrize(
    ("name", "verdict"), [("complete", "catastrophic (1 seed)"), ("skipped", "catastrophic (3 of 3 seeds)")]
)
def test_every_place_gives_the_same_verdict_with_its_evidence(told: dict[str, Told], name: str, verdict: str) -> None:
    each = told[name]
    texts, (word, seeds) = each.texts, verdict.rstrip(")").split(" (")
    (cell,) = json.loads(texts["status.json"])["cells"]
    searches = json.loads(texts["status.json"])["searches"]

    assert cell["verdict"] == verdict
    assert cell["is_hit"]
    assert json.loads(texts["report.json"])["cells"] == [cell]
    assert [search["verdict"] for search in searches] == [verdict] * len(searches)
    assert f"{verdict} {cell['evidence']}" in texts["status"]
    for text in (each.log, texts["report"]):
        # Of Table 1, and of the searched cells where there are any.
        lines = [line.split() for line in text.splitlines() if "first pair" not in line]
        assert sum(word in line for line in lines) == 1 + len(searches)
        assert sum(seeds.split() == line[-len(seeds.split()) :] for line in lines) == 1 + len(searches)
    assert texts["report.md"].count(f"| {word} ({seeds}; {cell['evidence']}") == 1 + len(searches)
    with sqlite3.connect(Path(each.sweep.store.uri) / "mlflow.db") as connection:
        query = "SELECT value FROM tags WHERE key = 'dptq.verdict' AND run_uuid IN "
        runs = "(SELECT run_uuid FROM tags WHERE key = 'dptq.uid' AND value = ?)"
        assert connection.execute(query + runs, (cell["uid"],)).fetchall() == [(word,)]


@pytest.mark.parametrize(
    ("name", "words"), [("stopped", []), ("failed", []), ("empty", []), ("searching", ["no drop"])]
)
def test_every_place_gives_no_other_verdict_than_that_of_a_pair_that_is_done(
    told: dict[str, Told], name: str, words: list[str]
) -> None:
    each = told[name]
    cells = json.loads(each.texts["status.json"])["cells"]
    uids = [node.uid for node in each.plan.nodes if node.cell and node.cell.goal is Goal.DETRIMENTAL]

    assert [cell["verdict"] for cell in cells] == words
    assert json.loads(each.texts["report.json"])["cells"] == cells
    for text in (each.log, each.texts["status"], each.texts["report"]):
        assert "catastrophic" not in text
    said = set(re.findall(r"\| (no drop|partial drop|catastrophic|parity lost) [|(]", each.texts["report.md"]))
    assert said == set(words)
    with sqlite3.connect(Path(each.sweep.store.uri) / "mlflow.db") as connection:
        query = "SELECT value FROM tags WHERE key = 'dptq.verdict' AND run_uuid IN "
        runs = f"(SELECT run_uuid FROM tags WHERE key = 'dptq.uid' AND value IN ({', '.join('?' * len(uids))}))"
        tagged = [word for (word,) in connection.execute(query + runs, uids).fetchall()]
    # A launch that goes on has not brought the pair to MLflow yet.
    assert tagged == ([] if name == "searching" else words)


def test_table_1_keeps_its_last_column_on_80_columns(told: dict[str, Told]) -> None:
    each = told["skipped"]
    trials = read_trials(Snapshot(each.plan, each.sweep.store))
    table = table1_text(table1(each.plan, trials), cell_verdicts(trials), chance=0.1, is_short=True)

    narrow, wide = (Console(file=io.StringIO(), width=width) for width in (80, 200))
    for console in (narrow, wide):
        console.print(render(table))

    said = [" ".join(console.file.getvalue().split()) for console in (narrow, wide)]  # type: ignore[attr-defined]
    assert said[0] == said[1]
    assert "test split (5,000 images, chance 10.0 %)" in said[0]


@pytest.mark.parametrize("name", SWEEPS)
def test_only_a_sweep_with_work_left_says_how_to_finish_it(told: dict[str, Told], name: str) -> None:
    is_left = SWEEPS[name][-1][0] in ("stopped", "complete with failures", "planned")

    assert ("finish it with: " in told[name].texts["status"]) is is_left
