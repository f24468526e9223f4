"""`ui --optuna`: the real optuna-dashboard on a sweep's study file, which it shows as it is and cannot change."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import pytest
from optuna.storages import JournalStorage
from optuna.study import StudyDirection

from orchestrator.cli.main import main
from orchestrator.plan import Node, Origin, Plan, build_plan
from orchestrator.search.dashboard import ReadOnlyJournal, open_server, study_file
from orchestrator.search.journal import JOURNAL, open_journal
from orchestrator.search.study import UID, CellStudy
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.errors import NonFiniteLossError
from search_spaces.grids.build import Choices, build_grid
from tests.browser import document_of
from tests.orchestrator.made_up import accuracies, pair_metrics, raised
from tests.servers import free_port
from tests.waiting import PATIENCE_SECONDS

SEARCH = {"keep_searching": True, "start_points": ("recipe",)}
PLAN: Plan = build_plan(build_grid("quick", Choices(search=SEARCH), lambda _: 15), lambda _: 15)
(CELL,) = PLAN.searched_cells
TRIALS: list[Node] = [node for node in PLAN.nodes if node.cell == CELL]
STUDY = f"mine/{CELL.cell_id}"


class Launch:
    """The searched cell of a sweep, as a launch leaves it in the middle: told, infeasible, pruned, failed, running."""

    def __init__(self, storage: Path) -> None:
        self.sweep = Sweep(Store(str(storage)), "mine")
        self.sweep.save_plan(PLAN)
        self.path = storage / "sweeps" / "mine" / JOURNAL
        self.journal = open_journal(self.path)
        self.study = CellStudy(CELL, self.journal, PLAN.grid.search, sweep="mine")
        told, infeasible, pruned, failed, running = TRIALS
        self.finish(told, drop=0.5, gap=0.0)
        self.finish(infeasible, drop=0.9, gap=0.05)
        self.start(pruned)
        self.study.report(pruned, epoch_row(1, 0.25))
        trial_of(self.sweep.store, pruned).write_epoch([epoch_row(1, 0.25)], b"")
        trial_of(self.sweep.store, pruned).write_pruned(1)
        self.study.tell(pruned, trial_of(self.sweep.store, pruned))
        self.start(failed)
        trial_of(self.sweep.store, failed).write_error(raised(NonFiniteLossError("the loss is nan")))
        self.study.tell(failed, trial_of(self.sweep.store, failed))
        self.start(running)
        self.study.report(running, epoch_row(1, 0.125))

    def start(self, node: Node) -> None:
        folder = trial_of(self.sweep.store, node)
        folder.write_recipe(node, self.study.point(node, folder))

    def finish(self, node: Node, *, drop: float, gap: float) -> None:
        self.start(node)
        folder = trial_of(self.sweep.store, node)
        folder.write_result(pair_metrics(gap, drop), {}, seconds=1.0, data_sha256="d")
        self.study.tell(node, folder)


def epoch_row(epoch: int, drop: float, gap: float = 0.0) -> dict[str, float]:
    return {"epoch": epoch, **accuracies("validation", gap, drop)}


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return Launch(tmp_path / "storage")


Ask = Callable[..., tuple[int, Any]]
"""Method, path and what to send; returns the HTTP status and the JSON of the answer."""


@pytest.fixture
def serve() -> Iterator[Callable[[WSGIServer], Ask]]:
    """Runs servers until the test ends."""
    servers: list[tuple[WSGIServer, threading.Thread]] = []

    def serve_it(server: WSGIServer) -> Ask:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return lambda *request: ask(server.server_port, *request)

    yield serve_it
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def installed() -> None:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed: pip install '.[ui]'")


@pytest.fixture
def page(launch: Launch, serve: Callable[[WSGIServer], Ask], installed: None) -> Ask:
    """The dashboard on the launch's study file."""
    return serve(open_server(launch.path, "127.0.0.1", 0))


def ask(port: int, method: str, path: str, content: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def test_the_page_shows_every_trial_with_its_state_values_and_parity(page: Ask) -> None:
    status, studies = page("GET", "/api/studies")
    assert status == 200
    assert [(each["study_id"], each["study_name"]) for each in studies["study_summaries"]] == [(0, STUDY)]

    status, study = page("GET", "/api/studies/0")
    assert status == 200
    trials = study["trials"]
    assert [trial["state"] for trial in trials] == ["Complete", "Complete", "Pruned", "Fail", "Running"]
    # By hand: drop - 10 max(0, gap - 0.01), and a violation of gap - 0.01.
    assert trials[0]["values"] == pytest.approx([0.5])
    assert trials[1]["values"] == pytest.approx([0.9 - 10 * 0.04])
    assert trials[0]["constraints"] == pytest.approx([-0.01])
    assert trials[1]["constraints"] == pytest.approx([0.04])
    reported = [[(each["step"], each["value"]) for each in trial["intermediate_values"]] for trial in trials[2:]]
    assert reported == [[(1, pytest.approx(0.25))], [], [(1, pytest.approx(0.125))]]
    assert {spec["name"] for spec in study["union_search_space"]} == set(PLAN.grid.search.space.fields)
    uids = [{each["key"]: each["value"] for each in trial["user_attrs"]}[UID] for trial in trials]
    assert uids == [node.uid for node in TRIALS]
    assert page("GET", "/api/studies/0/param_importances")[0] == 200


def test_a_study_says_what_it_maximizes_under_which_constraint_and_what_a_hit_is(page: Ask) -> None:
    status, study = page("GET", "/api/studies/0")
    assert status == 200
    assert study["objective_names"] == ["drop less excess gap"]
    note = study["note"]["body"]
    assert STUDY.removeprefix("mine/") in note
    for told in ("less 10 times what the parity gap", "at most 1 pp", "drops by at least 10 pp", "goes on after it"):
        assert told in note, told


def test_a_trial_outside_the_space_has_its_values_as_attributes_and_no_point(launch: Launch) -> None:
    plan = build_plan(
        build_grid("quick", Choices(search={"start_points": ("as-published",)}), lambda _: 15), lambda _: 15
    )
    first = next(node for node in plan.nodes if node.cell == plan.searched_cells[0])
    assert first.origin is Origin.AS_PUBLISHED
    study = CellStudy(plan.searched_cells[0], open_journal(launch.path), plan.grid.search, sweep="other")
    study.point(first, trial_of(launch.sweep.store, first))
    (trial,) = study._study.get_trials()
    assert not trial.params
    values = {name: getattr(first.recipe, name) for name in plan.grid.search.space.fields}
    assert values.items() <= trial.user_attrs.items()
    # Opened again, it says the same once.
    before = launch.path.read_bytes()
    CellStudy(plan.searched_cells[0], open_journal(launch.path), plan.grid.search, sweep="other")
    assert b"note" not in launch.path.read_bytes()[len(before) :]


def test_the_page_follows_a_launch_at_work(launch: Launch, page: Ask) -> None:
    assert len(page("GET", "/api/studies")[1]["study_summaries"]) == 1
    CellStudy(CELL, launch.journal, PLAN.grid.search, sweep="other")
    names = [each["study_name"] for each in page("GET", "/api/studies")[1]["study_summaries"]]
    assert names == [STUDY, f"other/{CELL.cell_id}"]


CHANGES: dict[str, tuple[str, str, Any]] = {
    "delete a study": ("DELETE", "/api/studies/0", {}),
    "rename a study": ("POST", "/api/studies/0/rename", {"study_name": "new"}),
    "create a study": ("POST", "/api/studies", {"study_name": "new", "directions": ["maximize"]}),
    "note on a study": ("PUT", "/api/studies/0/note", {"version": 2, "body": "x"}),
    "note on a trial": ("PUT", "/api/studies/0/4/note", {"version": 1, "body": "x"}),
    "tell a trial": ("POST", "/api/trials/4/tell", {"state": "Complete", "values": [1.0]}),
    "attribute of a trial": ("POST", "/api/trials/4/user-attrs", {"user_attrs": {UID: "x"}}),
}


@pytest.mark.parametrize("request_", CHANGES.values(), ids=CHANGES)
def test_what_would_change_the_file_elsewhere_changes_nothing_here(
    launch: Launch, page: Ask, serve: Callable[[WSGIServer], Ask], tmp_path: Path, request_: tuple[str, str, Any]
) -> None:
    from optuna_dashboard import wsgi

    before = launch.path.read_bytes()
    copy = tmp_path / "copy.log"
    copy.write_bytes(before)
    status, _ = serve(make_server("127.0.0.1", 0, wsgi(open_journal(copy))))(*request_)
    assert status in (200, 201, 204)
    assert copy.read_bytes() != before

    status, answer = page(*request_)
    assert status == 403
    assert "changes none" in answer["reason"]
    assert launch.path.read_bytes() == before
    assert [path.name for path in launch.path.parent.glob(f"{JOURNAL}*")] == [JOURNAL]


def test_the_file_cannot_be_written_whatever_the_page_asks(launch: Launch) -> None:
    before = launch.path.read_bytes()
    storage = JournalStorage(ReadOnlyJournal(str(launch.path)))
    with pytest.raises(PermissionError, match="changes none"):
        storage.delete_study(0)
    with pytest.raises(PermissionError, match="changes none"):
        storage.create_new_study([StudyDirection.MINIMIZE])
    assert launch.path.read_bytes() == before
    assert [study.study_name for study in storage.get_all_studies()] == [STUDY]


def test_a_lost_file_is_made_of_the_finished_trials_for_the_time_of_looking(launch: Launch) -> None:
    finished = [trial for trial in launch.journal.get_all_trials(0) if trial.number in (0, 1, 2)]
    launch.path.unlink()
    said: list[str] = []
    with study_file(launch.sweep, PLAN, said.append) as path:
        (study,) = open_journal(path).get_all_studies()
        assert study.study_name == STUDY
        rebuilt = open_journal(path).get_all_trials(0)
    assert [(trial.user_attrs[UID], trial.state, trial.values, trial.params) for trial in rebuilt] == [
        (trial.user_attrs[UID], trial.state, trial.values, trial.params) for trial in finished
    ]
    assert len(said) == 1
    assert f"has no {JOURNAL}" in said[0]
    assert not path.exists()
    assert not launch.path.exists()


def one_sided(storage: Path) -> None:
    plan = build_plan(build_grid("quick", Choices(goals=("robust",)), lambda _: 15), lambda _: 15)
    Sweep(Store(str(storage)), "robust").save_plan(plan)


def cut(storage: Path) -> None:
    # As a full disk leaves it: half an operation, and the next ones appended to it.
    path = storage / "sweeps" / "mine" / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:9] + b"".join(lines[2:]))


# what is prepared, what is typed, exit code, what the line must hold
REFUSALS: dict[str, tuple[Callable[[Path], None], str, int, tuple[str, ...]]] = {
    "no searched cell": (one_sided, "ui robust --optuna", 1, ("'robust'", "no searched cell", "--search-trials")),
    "no such sweep": (one_sided, "ui min --optuna", 1, ("'min'", "unknown sweep", "Did you mean 'mine'")),
    "damaged file": (cut, "ui mine --optuna", 1, (JOURNAL, "cannot be read", "move it away")),
    "studies of a server": (one_sided, "ui --optuna --tracking-uri http://h", 2, ("--tracking-uri", "leave it out")),
}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Returns the exit code and the one line of a command that does not work."""
    with pytest.raises(SystemExit) as ending:
        main(list(arguments))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return int(ending.value.code or 0), lines[0]


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_shown_is_one_line_with_the_cure(
    launch: Launch,
    installed: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: tuple[Callable[[Path], None], str, int, tuple[str, ...]],
) -> None:
    prepare, typed, code, parts = case
    prepare(tmp_path / "storage")
    found, line = refusal(capsys, *typed.split(), "--storage", str(tmp_path / "storage"))
    assert found == code
    assert [part for part in parts if part not in line] == []


def test_a_missing_dashboard_is_one_line_that_installs_it(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("orchestrator.search.dashboard.find_spec", lambda name: None)
    code, line = refusal(capsys, "ui", "--optuna", "mine", "--storage", launch.sweep.store.uri)
    assert code == 1
    assert "pip install '.[ui]'" in line


def test_a_port_in_use_is_one_line(launch: Launch, installed: None, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = refusal(capsys, "ui", "--optuna", "mine", "--port", str(port), "--storage", launch.sweep.store.uri)
    assert code == 1
    assert f"127.0.0.1:{port} (address already in use): choose another --port" in line


def test_the_command_serves_on_this_machine_until_it_is_interrupted(launch: Launch, installed: None) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from orchestrator.cli.main import main; main()", "ui", "mine", "--optuna"]
    command += ["--port", str(port), "--storage", launch.sweep.store.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert f"'mine' at http://127.0.0.1:{port}/dashboard, read-only" in process.stdout.readline()
            assert ask(port, "GET", "/api/studies")[1]["study_summaries"][0]["study_name"] == STUDY
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


@pytest.mark.browser
def test_a_browser_shows_the_study(
    launch: Launch, serve: Callable[[WSGIServer], Ask], installed: None, browser: str, tmp_path: Path
) -> None:
    server = open_server(launch.path, "127.0.0.1", 0)
    serve(server)
    url = f"http://127.0.0.1:{server.server_port}/dashboard/studies/0"
    seen = document_of(browser, url, tmp_path)
    assert STUDY in seen
    assert "a parity gap of at most 1 pp" in document_of(browser, f"{url}/note", tmp_path), "the note of the study"
    # No button with such an icon can be had.
    assert 'button:has(svg[data-testid="DeleteIcon"])' in seen
