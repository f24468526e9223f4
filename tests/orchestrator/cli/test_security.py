"""Nothing in a storage runs code, no name leaves it, and no credentials are written or shown."""

import ast
import contextlib
import http.server
import io
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
import yaml
from click.testing import CliRunner

from cluster.runtime.session import WORKER_ENVIRONMENT
from orchestrator.cli.main import main
from orchestrator.cli.storage.ui import command as ui
from orchestrator.plan import Plan, build_plan
from orchestrator.search.journal import open_journal
from orchestrator.search.samplers import STARTUP_TRIALS, make_sampler
from orchestrator.store.folder import CHECKPOINT, EPOCHS, PREDICTIONS, RECIPE, RESULT, RESUME
from orchestrator.store.store import Store
from orchestrator.store.sweep import PLAN, LaunchOptions, Sweep
from orchestrator.store.trial import trial_of
from orchestrator.workers.entry_points import check_dataset
from orchestrator.workers.trial import run_trial
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnavailableError
from search_spaces.files.yaml_files import UniqueKeys
from search_spaces.grids.build import Choices, build_grid
from search_spaces.loss_space import LossSpace, suggest
from search_spaces.uris import TRUSTED_HOSTS, named_hosts
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(
    path for name in ("search_spaces", "trainables", "cluster", "orchestrator") for path in (ROOT / name).rglob("*.py")
)
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
SMOKE: Plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)


def unsafe_lines(source: str) -> list[str]:
    """Returns what in a module could run code that a file brings along."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name.split(".")[0] in UNSAFE_MODULES]
        if isinstance(node, ast.Call):
            name, options = ast.unparse(node.func), {each.arg: ast.unparse(each.value) for each in node.keywords}
            is_unsafe = (
                (name == "torch.load" and options.get("weights_only") != "True")
                or (name in ("yaml.load", "yaml.load_all") and options.get("Loader") != "UniqueKeys")
                or name in ("yaml.unsafe_load", "yaml.full_load", "eval", "exec", "pd.read_pickle")
                or options.get("allow_pickle") == "True"
            )
            found += [ast.unparse(node)] if is_unsafe else []
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles_or_evaluates(path: Path) -> None:
    assert unsafe_lines(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from joblib import load", "torch.load(x)", "torch.load(x, weights_only=False)", "yaml.load(x)",
     "yaml.load(x, Loader=yaml.Loader)", "np.load(x, allow_pickle=True)", "eval(x)", "pd.read_pickle(x)"],
)  # fmt: skip
def test_the_search_for_unsafe_lines_finds_them(line: str) -> None:
    assert len(unsafe_lines(line)) == 1


def test_grid_files_are_read_by_a_safe_loader() -> None:
    assert issubclass(UniqueKeys, yaml.SafeLoader)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    for name, value in WORKER_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # `reproduce` sets them for good, as a worker does

    def run_it(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_info:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(exit_info.value.code or 0), printed.out + printed.err

    return run_it


@pytest.mark.parametrize("name", [RECIPE, RESULT, EPOCHS, RESUME, CHECKPOINT, PREDICTIONS, PLAN])
def test_a_pickle_in_the_storage_is_never_loaded(
    store: Store, run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    marker = tmp_path / "it ran"
    bomb = pickle.dumps(Bomb(marker))
    sweep, (teacher, distill, *_) = Sweep(store, "mine"), SMOKE.nodes
    sweep.save_plan(SMOKE)
    sweep.save_launch(LaunchOptions())
    folder = trial_of(store, teacher)
    folder.write_recipe(teacher, None)
    folder.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 0}], b"state")
    if name not in (RESUME, RECIPE):
        folder.write_result({}, {CHECKPOINT: bomb, PREDICTIONS: bomb}, seconds=1.0, data_sha256="d")
    (sweep.folder if name == PLAN else folder.folder).write_bytes(name, bomb)
    for command in (["status"], ["ls"], ["gc", "--plan"], ["logs", teacher.uid], ["reproduce", teacher.uid]):
        code, text = run(*command, "--storage", store.uri)
        assert code in (0, 1)
        assert "Traceback" not in text
    monkeypatch.setattr("ray.tune.report", lambda metrics: None)
    monkeypatch.setattr("ray.get_gpu_ids", list)
    trial_of(store, distill).write_recipe(distill, None)
    node = teacher if name in (RESUME, RECIPE) else distill
    run_trial({"storage": store.uri, "stage": str(node.stage), "uid": node.uid, "data_dir": None, "stop_file": "stop"})
    assert trial_of(store, node).error() is not None
    assert not marker.exists()
    pickle.loads(bomb)
    assert marker.exists(), "the bomb would have gone off"


def test_a_pickle_in_the_journal_of_the_studies_is_never_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    study = optuna.create_study(storage=open_journal(tmp_path / "studies.log"), sampler=make_sampler("cmaes", seed=0))
    ranges = LossSpace().ranges
    distributions = {name: optuna.distributions.FloatDistribution(*ends, log=True) for name, ends in ranges.items()}
    for number in range(STARTUP_TRIALS):
        trial = optuna.create_trial(
            params={name: low * (number + 1) for name, (low, _) in ranges.items()},
            distributions=distributions,
            value=float(number),
            system_attrs={"cma:optimizer:0": pickle.dumps(Bomb(marker)).hex()},
        )
        study.add_trial(trial)
    assert set(suggest(LossSpace(), study.ask())) == set(ranges)
    assert not marker.exists()
    study.sampler = optuna.samplers.CmaEsSampler(n_startup_trials=STARTUP_TRIALS)
    with contextlib.suppress(AttributeError):
        suggest(LossSpace(), study.ask())
    assert marker.exists(), "the bomb would have gone off"


@pytest.mark.parametrize("name", ["../x", "..", "/etc", "a/../../x", "x\x00y"])
@pytest.mark.parametrize("command", ["status", "report", "analyze", "logs", "reproduce", "launch --name"])
def test_no_name_leaves_the_storage(
    store: Store, run: Callable[..., tuple[int, str]], tmp_path: Path, command: str, name: str
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / PLAN).write_text('{"schema": 1, "uids": []}')
    before = sorted(path for path in tmp_path.rglob("*") if path.name != ".writable")
    code, text = run(*command.split(), name, "--storage", store.uri)
    assert code == 1
    assert text.startswith("Error: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_ui_listens_to_this_machine_only_unless_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    place = "orchestrator.cli.storage.ui._run_to_the_end"
    monkeypatch.setattr(place, lambda arguments, address, show: started.append(arguments))
    for arguments in ([], ["--host", "0.0.0.0"]):
        CliRunner().invoke(ui, [*arguments, "--storage", store.uri, "--port", str(free_port())])
    assert [each[each.index("--host") + 1] for each in started] == ["127.0.0.1", "0.0.0.0"]


@pytest.fixture
def broken_server() -> Iterator[int]:
    """An MLflow server that answers and then refuses everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 403)
            self.end_headers()
            self.wfile.write(self.path.encode())

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield web.server_port
        web.shutdown()
        thread.join()


@pytest.mark.ray
@pytest.mark.slow
def test_credentials_of_a_server_are_neither_shown_nor_written(
    run: Callable[..., tuple[int, str]], tmp_path: Path, broken_server: int
) -> None:
    uri = f"http://ann:hunter2@127.0.0.1:{broken_server}"
    shown = []
    for arguments in (["launch", "--grid", "smoke", "--tracking-uri", uri], ["status"], ["report"], ["ls"]):
        code, text = run("--debug", *arguments, "--storage", "storage")
        shown.append(text)
        assert code == (1 if arguments[0] == "launch" else 0)
    assert f"http://127.0.0.1:{broken_server}" in shown[0] + shown[1]
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.name == "launch.json" for path in files)
    assert not [path for path, content in files.items() if b"hunter2" in content]
    assert "hunter2" not in "".join(shown)


class Listening(http.server.BaseHTTPRequestHandler):
    """Answers everything, and keeps what it was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Authorization')}")
        self.send_response(404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def refusal_of(*arguments: str) -> str:
    with contextlib.redirect_stderr(io.StringIO()) as printed, pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code == 1
    return printed.getvalue()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that only a storage names, as the host of an attacker would be; it is on this machine."""
    monkeypatch.setenv(TRUSTED_HOSTS, "")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *others, **more: resolve(LOCAL.get(host, host), *others, **more)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Listening.asked.clear()
        yield f"attacker.example:{server.server_port}"
        server.shutdown()


LOCAL = {"attacker.example": "127.0.0.1"}


@pytest.mark.parametrize("command", ["resume", "analyze"])
def test_a_host_that_only_the_storage_names_gets_no_credentials_until_it_is_trusted(
    store: Store, elsewhere: str, command: str
) -> None:
    sweep = Sweep(store, "mine")
    sweep.save_plan(SMOKE)
    sweep.save_launch(LaunchOptions(tracking_uri=f"http://{elsewhere}"))
    place = ("mine", "--storage", store.uri)
    refusal = refusal_of(command, *place)
    assert refusal.startswith(
        "Error: MLflow of the sweep is at attacker.example, which the storage says and you did not"
    )
    assert refusal.count("\n") == 1
    assert "--tracking-uri" in refusal
    assert "--trust-storage" in refusal
    assert Listening.asked == []
    if command == "analyze":
        for accepted in ("--trust-storage",), ("--tracking-uri", f"http://{elsewhere}"):
            refusal_of(command, *place, *accepted)
            assert Listening.asked, "whoever was named is asked"
            Listening.asked.clear()


def test_the_endpoint_of_stored_data_gets_no_credentials_unless_somebody_named_it(
    elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = DatasetSpec(name=f"parquet:s3://bucket/x?endpoint_override={elsewhere}&scheme=http&region=r", image_size=32)
    opened = list[str]()

    def open_at(uri: str) -> None:
        opened.append(uri)
        raise OSError("it is the test's")

    monkeypatch.setattr("trainables.data.parquet.with_defaults", open_at)
    with pytest.raises(ConfigError, match=r"the data of s3://bucket/x is at attacker\.example, which the storage says"):
        check_dataset(spec, tmp_path)
    assert opened == []
    for argument in ("--trust-storage", spec.name):
        monkeypatch.setenv(TRUSTED_HOSTS, ",".join({"*"} if argument[0] == "-" else named_hosts([argument], {})))
        with pytest.raises(UnavailableError, match="it is the test's"):
            check_dataset(spec, tmp_path)


def test_hosts_that_a_grid_file_names_were_named_by_whoever_gave_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("dataset: {name: 'parquet:s3://b/x?scheme=http&endpoint_override=minio:9000'}\n")
    assert named_hosts(["launch", "--grid", str(file)], {"HOME": "/x", "DPTQ_TRACKING_URI": "http://a:b@ml:5000"}) == {
        "minio",
        "ml",
    }
    assert named_hosts(["resume", "quick"], {}) == set()
