"""A command or a webhook hears what happens to a sweep; one that fails costs a line and nothing else."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.launch.notifications import Event, Hook, check_target
from orchestrator.plan import build_plan
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, build_grid
from tests.waiting import wait_until

PLAN = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
NODE, OTHER = PLAN.nodes[:2]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make_hook(store: Store, said: list[str]) -> Callable[..., Hook]:
    def make(target: str, **settings: Any) -> Hook:
        return Hook(target, Sweep(store, "mine"), said.append, **{"stalled_seconds": 3600.0, **settings})

    return make


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web server that keeps what is posted."""
    posted: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}/hook", posted
        web.shutdown()
        thread.join()


def test_a_command_gets_the_event_and_its_facts(make_hook: Callable[..., Hook], store: Store, tmp_path: Path) -> None:
    trial_of(store, NODE).write_error(RuntimeError("out of luck"))
    trial_of(store, OTHER).write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    with make_hook(
        f'echo "$DPTQ_EVENT" >> {tmp_path}/names; cat >> {tmp_path}/facts; echo >> {tmp_path}/facts'
    ) as hook:
        for node in (NODE, OTHER):
            hook.started(node, {})
            hook.ended(node)
        hook.tell(Event.SWEEP_DONE, done=1)
    assert (tmp_path / "names").read_text().split() == ["trial-failed", "sweep-done"]
    failed, done = map(json.loads, (tmp_path / "facts").read_text().splitlines())
    assert failed == {
        "event": "trial-failed",
        "sweep": "mine",
        "storage": store.uri,
        "uid": NODE.uid,
        "name": NODE.name,
        "state": "failed",
        "error": "RuntimeError: out of luck",
    }
    assert done["done"] == 1


def test_a_webhook_gets_a_post(make_hook: Callable[..., Hook], server: tuple[str, list[dict[str, Any]]]) -> None:
    url, posted = server
    with make_hook(url) as hook:
        hook.tell(Event.CAP_HIT, cap="--max-hours 2")
    assert [(each["event"], each["cap"]) for each in posted] == [("cap-hit", "--max-hours 2")]


@pytest.mark.parametrize(
    ("target", "hook_seconds", "reason"),
    [
        ("exit 3", 60, "it ended with exit code 3"),
        ("sleep 1000", 0.2, "no answer within 0.2 s"),
        ("http://127.0.0.1:9/secret-path", 60, "--on-event 127.0.0.1 did not take cap-hit"),
        ("http://127.0.0.1:secret/path", 60, "--on-event 127.0.0.1 did not take cap-hit"),
    ],
)
def test_a_failing_hook_is_reported_once_without_its_secrets(
    make_hook: Callable[..., Hook], said: list[str], target: str, hook_seconds: float, reason: str
) -> None:
    with make_hook(target, hook_seconds=hook_seconds) as hook:
        hook.tell(Event.CAP_HIT)
        hook.tell(Event.CAP_HIT)
    assert len(said) == 1
    assert reason in said[0]
    assert said[0].endswith("the sweep goes on.")
    assert "secret" not in said[0]


def test_a_webhook_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="holds a user name or password") as refused:
        check_target("https://me:secret@host/path")
    assert "secret" not in str(refused.value)


def test_telling_never_holds_the_driver_up(make_hook: Callable[..., Hook], said: list[str], tmp_path: Path) -> None:
    goes_on, heard = tmp_path / "goes-on", tmp_path / "heard"
    with make_hook(f"until [ -e {goes_on} ]; do sleep 0.01; done; touch {heard}") as hook:
        hook.tell(Event.CAP_HIT)
        hook.ended(NODE)
        assert not heard.exists()
        goes_on.touch()
    assert heard.exists()
    assert said == []


def test_a_stall_is_told_once_until_an_epoch_ends_it(
    make_hook: Callable[..., Hook], server: tuple[str, list[dict[str, Any]]]
) -> None:
    url, posted = server
    now, looks = [0.0], list[float]()

    def clock() -> float:
        looks.append(now[0])
        return now[0]

    def wait_for_a_look() -> None:
        # The second, for the first may have begun before.
        before = len(looks)
        wait_until(lambda: len(looks) >= before + 2)

    with make_hook(url, stalled_seconds=0.05, clock=clock) as hook:
        now[0] = 1.0
        wait_for_a_look()
        assert posted == []  # nothing runs, so nothing stalls
        hook.started(NODE, {})
        now[0] = 2.0
        wait_until(lambda: len(posted) == 1)
        now[0] = 3.0
        wait_for_a_look()
        hook.epoch(NODE, {})
        wait_for_a_look()
        now[0] = 4.0
        wait_until(lambda: len(posted) == 2)
    assert [each["event"] for each in posted] == ["stalled", "stalled"]
    assert posted[0]["running"] == [NODE.name]
