"""A command or a webhook hears what happens to a sweep; one that fails costs a line and nothing else."""

import http.server
import json
import threading
import time
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
    ("target", "reason"),
    [
        ("exit 3", "it ended with exit code 3"),
        ("sleep 60", "no answer within 0.2 s"),
        ("http://127.0.0.1:9/secret-path", "--on-event 127.0.0.1 did not take cap-hit"),
        ("http://127.0.0.1:secret/path", "--on-event 127.0.0.1 did not take cap-hit"),
    ],
)
def test_a_failing_hook_is_reported_once_without_its_secrets(
    make_hook: Callable[..., Hook], said: list[str], target: str, reason: str
) -> None:
    start = time.monotonic()
    with make_hook(target, hook_seconds=0.2) as hook:
        hook.tell(Event.CAP_HIT)
        hook.tell(Event.CAP_HIT)
    assert time.monotonic() - start < 5
    assert len(said) == 1
    assert reason in said[0]
    assert said[0].endswith("the sweep goes on.")
    assert "secret" not in said[0]


def test_a_webhook_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="holds a user name or password") as refused:
        check_target("https://me:secret@host/path")
    assert "secret" not in str(refused.value)


def test_telling_never_holds_the_driver_up(make_hook: Callable[..., Hook]) -> None:
    with make_hook("sleep 0.5") as hook:
        start = time.monotonic()
        hook.tell(Event.CAP_HIT)
        hook.ended(NODE)
        assert time.monotonic() - start < 0.2


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stall_is_told_once_until_an_epoch_ends_it(
    make_hook: Callable[..., Hook], server: tuple[str, list[dict[str, Any]]]
) -> None:
    url, posted = server
    now = [0.0]
    with make_hook(url, stalled_seconds=0.05, clock=lambda: now[0]) as hook:
        time.sleep(0.2)
        now[0] = 1.0
        time.sleep(0.2)
        assert posted == []  # nothing runs, so nothing stalls
        hook.started(NODE, {})
        now[0] = 2.0
        wait_for(lambda: len(posted) == 1)
        now[0] = 3.0
        time.sleep(0.2)
        hook.epoch(NODE, {})
        time.sleep(0.2)
        now[0] = 4.0
        wait_for(lambda: len(posted) == 2)
    assert [each["event"] for each in posted] == ["stalled", "stalled"]
    assert posted[0]["running"] == [NODE.name]
