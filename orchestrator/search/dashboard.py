"""The studies of a sweep in optuna-dashboard, which shows them and can change nothing.

Its page has buttons that delete and rename studies, tell trials and save notes, and its API does so for anybody who can
reach the port. A launch may be writing the study file meanwhile, and agrees on it with the store. So the page gets the
file itself, always up to date, through a backend that cannot write. `optuna-dashboard FILE` would write.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.plan import Plan
from orchestrator.search.journal import JOURNAL, open_journal
from orchestrator.search.study import CONSTRAINT, open_studies
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.errors import ConfigError, StorageError, one_line
from search_spaces.files.scratch import scratch_folder

REFUSED_ICONS = ("AddBox", "Create", "Delete", "DriveFileRenameOutline", "Edit", "ModeEdit", "StopCircle")
"""Of the buttons that would change something, as Material names them: create, delete, rename, note, fail a trial.
Read in optuna-dashboard 0.21, which has no setting for it; the style below hides them."""
READ_ONLY = "dptq-sweep shows studies and changes none: what is true of a trial lies in the storage"


class ReadOnlyJournal(JournalFileBackend):
    """A study file that others write."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yields the operations from a number on, constraints as optuna-dashboard knows them."""
        for operation in super().read_logs(log_number_from):
            violation = operation.get("system_attr", {}).get(f"constraints:{CONSTRAINT}")
            # optuna-dashboard 0.21 looks for the form of Optuna 4, and without it takes every trial for a feasible one.
            yield operation if violation is None else operation | {"system_attr": {"constraints": [violation]}}

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuses to write.

        Raises:
            PermissionError: Always.
        """
        raise PermissionError(READ_ONLY)


@contextmanager
def study_file(sweep: Sweep, plan: Plan, say: Callable[[str], None]) -> Iterator[Path]:
    """Gives the study file of a sweep; where the launch left none here, a temporary one made of the store.

    Raises:
        ConfigError: No cell of the sweep is searched.
    """
    if not plan.searched_cells:
        raise ConfigError(
            f"sweep {sweep.name!r} has no searched cell, hence no study: launch a grid with detrimental pairs and "
            "--search-trials 4, for example."
        )
    folder = sweep.folder.local_path
    if folder is not None and (folder / JOURNAL).is_file():
        yield folder / JOURNAL
        return
    say(
        f"{sweep.folder.root} has no {JOURNAL} that a launch adds to: the studies are made of the trials that are "
        "finished by now; start again to see later ones."
    )
    with scratch_folder() as scratch:
        path = scratch / JOURNAL
        _fill(path, sweep, plan)
        yield path


def open_server(path: Path, host: str, port: int) -> WSGIServer:
    """Returns a server of optuna-dashboard on a study file, bound to its port, to be run and closed by the caller.

    Port 0 takes a free one.

    Raises:
        ConfigError: optuna-dashboard is not installed, or the port cannot be had.
        StorageError: The file is no study file.
    """
    if find_spec("optuna_dashboard") is None:
        raise ConfigError("optuna-dashboard is not installed: run `pip install '.[ui]'` in the checkout of dptq-sweep.")
    from optuna_dashboard import wsgi

    try:
        journal = JournalStorage(ReadOnlyJournal(str(path)))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} cannot be read as a study file ({one_line(error)}): move it away, the next launch makes it again."
        ) from None
    try:
        return make_server(host, port, _read_only(wsgi(journal)), _Server, _Handler)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({(error.strerror or one_line(error)).lower()}): choose another --port or "
            "--host."
        ) from None


def _fill(path: Path, sweep: Sweep, plan: Plan) -> None:
    """Makes a study file of what the store knows."""
    journal = open_journal(path)
    searches = plan.searches()
    for cell_id, study in open_studies(plan.searched_cells, journal, plan.grid.search, sweep=sweep.name).items():
        study.reconcile([(node, trial_of(sweep.store, node)) for node in searches[cell_id]])


def _read_only(app: WSGIApplication) -> WSGIApplication:
    """Answers what would change something with a reason, before it fails at the backend."""

    def guarded(request: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if request["REQUEST_METHOD"] in ("GET", "HEAD"):
            is_page = request["PATH_INFO"].startswith("/dashboard")
            return _without_buttons(app, request, start_response) if is_page else app(request, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [json.dumps({"reason": READ_ONLY}).encode()]

    return guarded


def _without_buttons(app: WSGIApplication, request: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the page, whose style hides the buttons that are refused."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        started.append((status, headers))
        return lambda written: None

    # A browser that has the page already would be told that it did not change.
    request.pop("HTTP_IF_MODIFIED_SINCE", None)
    answer = app(request, start)
    page = b"".join(answer)
    if hasattr(answer, "close"):  # a file
        answer.close()
    icons = ", ".join(f'button:has(svg[data-testid="{name}Icon"])' for name in REFUSED_ICONS)
    page = page.replace(b"</head>", f"<style>{icons} {{ display: none !important; }}</style></head>".encode(), 1)
    status, headers = started[-1]
    headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    start_response(status, [*headers, ("Content-Length", str(len(page)))])
    return [page]


class _Server(ThreadingMixIn, WSGIServer):
    """A slow plot keeps no other request waiting."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Prints no line per request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""
