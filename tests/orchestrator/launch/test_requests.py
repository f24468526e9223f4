"""How often a sweep on an object store asks it: counted on an S3 server of this machine, by kind of request.

At commit 7627d42, before a sweep was read once, the same finished sweep of 32 trials took:

    launch   1493   697 HEAD, 662 GET, 101 LIST, 31 PUT, 2 DELETE
    status    401   216 HEAD, 181 GET, 4 LIST

until it had an index:

    launch    126   108 GET, 9 PUT, 6 LIST, 2 POST, 1 HEAD
    status     70   66 GET, 4 LIST
"""

import io
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

import pyarrow.fs as pafs
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from orchestrator.cli.main import main
from orchestrator.plan import Plan, build_plan
from orchestrator.store.store import Store
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.search_driver import SearchDriver
from tests.servers import SECRET, Bucket

NUM_TRIALS = 32
GRID = {
    "name": "counted",
    "base": "quick",
    "pair": {"epochs": 2},
    "search": {"trials": 8, "levels": "all", "keep_searching": True},
}


@dataclass
class CountedServer:
    """An S3 server that says what it was asked."""

    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def options(self) -> str:
        return f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"


@pytest.fixture(scope="module")
def server() -> Iterator[CountedServer]:
    counted, app = CountedServer(), DomainDispatcherApplication(create_backend_app)

    def counting(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_list = "list-type" in parse_qs(environ["QUERY_STRING"])
        counted.asked["LIST" if is_list else environ["REQUEST_METHOD"]] += 1
        return app(environ, start_response)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = make_server("127.0.0.1", 0, counting, threaded=True)
    counted.port = running.port
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield counted
    running.shutdown()
    thread.join()


def run(*arguments: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert not end.value.code, out.getvalue()
    return out.getvalue()


@pytest.fixture(scope="module")
def finished(server: CountedServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A finished sweep whose every pair was searched, launched once more so that MLflow and its report are complete.

    Returns:
        What names it to a launch.
    """
    root = tmp_path_factory.mktemp("counted")
    (root / "counted.yaml").write_text(json.dumps(GRID))
    plan: Plan = build_plan(build_grid(str(root / "counted.yaml"), Choices(), lambda _: 15), lambda _: 15)
    assert len(plan.nodes) == NUM_TRIALS
    driver = SearchDriver(plan, Store(str(root / "storage")), root / "studies.log", lambda node: (0.0, 0.5))
    driver.run()
    bucket = Bucket("bucket-counted", server.options)
    filesystem, _ = pafs.FileSystem.from_uri(f"{bucket.uri()}&allow_bucket_creation=true")
    filesystem.create_dir(bucket.name)
    pafs.copy_files(str(root / "storage"), f"{bucket.name}/storage", pafs.LocalFileSystem(), filesystem)
    tracking = ("--tracking-uri", f"sqlite:///{root}/mlflow.db")
    launch = ("--grid", str(root / "counted.yaml"), "--storage", bucket.uri("/storage"), *tracking)
    assert "32 done, 0 failed" in run("launch", *launch)
    return launch


def test_launch_with_nothing_to_do_asks_forty_times_and_once_per_five_trials(
    server: CountedServer, finished: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The heart beats by the clock, however many trials there are.
    monkeypatch.setattr("orchestrator.store.leases.sweeps._Heart._run", lambda heart: None)
    server.asked.clear()
    assert "32 done, 0 failed" in run("launch", *finished)
    assert server.asked.total() <= 40 + 0.2 * NUM_TRIALS, server.asked


def test_status_asks_ten_times_and_once_per_ten_trials(server: CountedServer, finished: tuple[str, ...]) -> None:
    server.asked.clear()
    assert "32 of 32 trials done" in run("status", "counted", "--storage", finished[3])
    assert server.asked.total() <= 10 + 0.1 * NUM_TRIALS, server.asked
