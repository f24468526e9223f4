"""Where MLflow keeps its runs: the tracking URI, whether it answers, how to look at it, and its environment.

MLflow itself is not imported here: `ui` and an early check of a flag stay fast.
"""

import http.client
import os
import re
import sqlite3
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.store.store import Store
from search_spaces.errors import ConfigError, TrackingError
from search_spaces.uris import redact

CHECK_SECONDS = 5.0
"""How long a server may take to answer the first question; MLflow's own default is about four minutes."""
MAKING_SECONDS = 300.0
"""Longest wait for another process that makes the tables of a database, which takes seconds on an idle machine."""
_SQLITE = "sqlite:///"
# MLflow makes a folder of what follows a mere `sqlite:///`, undecoded; not so where the driver is named.
_SQLITE_ENCODED = "sqlite+pysqlite:///"


@dataclass(frozen=True, slots=True)
class Location:
    """One MLflow backend: a server, or a database file of this machine."""

    uri: str
    """What MLflow is given; may hold credentials, so print `address`."""
    database: Path | None
    """The database file, absolute; None for a server."""

    @property
    def address(self) -> str:
        """The URI as it may be shown."""
        return redact(self.uri)

    @property
    def artifacts(self) -> Path | None:
        """The folder of the artifacts; a server decides for itself."""
        return self.database.with_name("mlflow-artifacts") if self.database else None


def locate(tracking_uri: str | None, store: Store) -> Location:
    """Finds the backend that a tracking URI means.

    Args:
        tracking_uri: `sqlite:///...` or `http(s)://...`; None means a database in the storage folder.
        store: The storage of the sweep.

    Raises:
        ConfigError: The URI is of a kind that cannot be used, or the default needs a local storage folder.
    """
    if tracking_uri is None:
        if store.root.local_path is None:
            raise ConfigError(
                f"MLflow's database cannot lie in {redact(store.uri)}: name another place with --tracking-uri, the "
                "http(s):// URL of an MLflow server or sqlite:///path/to/mlflow.db for a file of this machine."
            )
        database = store.root.local_path / "mlflow.db"
        return Location(database_uri(database), database)
    if urllib.parse.urlsplit(tracking_uri).scheme in ("http", "https"):
        return Location(tracking_uri.rstrip("/"), None)
    named = database_of(tracking_uri)
    if named is None:
        raise ConfigError(_refusal(tracking_uri))
    return Location(database_uri(named), named)


def database_of(tracking_uri: str) -> Path | None:
    """Returns the database file that a tracking URI names, absolute; None if it names none.

    Examples:
        >>> database_of("sqlite:////runs/a%20b.db"), database_of("sqlite:///:memory:"), database_of("http://host")
        (PosixPath('/runs/a b.db'), None, None)
    """
    path = tracking_uri.removeprefix(_SQLITE_ENCODED).removeprefix(_SQLITE)
    if path == tracking_uri or path in ("", ":memory:") or "?" in path:
        return None
    # A relative database would follow the working directory, and Ray changes that.
    return Path(os.path.abspath(Path(urllib.parse.unquote(path)).expanduser()))


def check_kept(tracking_uri: str | None) -> None:
    """Makes sure that the folder of MLflow's database, which a launch named and nobody now, was not moved away.

    Raises:
        ConfigError: It was.
    """
    database = database_of(tracking_uri) if tracking_uri else None
    if database and not database.parent.exists():
        raise ConfigError(
            f"the launch kept its runs in {database}, whose folder is gone: name the place that the database has now "
            "with --tracking-uri sqlite:///PATH."
        )


def database_uri(database: Path) -> str:
    """Builds the tracking URI of a database file, whose path may hold letters that mean something in a URI.

    Examples:
        >>> database_uri(Path("/runs/x.db")), database_uri(Path("/100%/x?.db"))
        ('sqlite:////runs/x.db', 'sqlite+pysqlite:////100%25/x%3F.db')
    """
    path = re.sub("[%?#]", lambda letter: urllib.parse.quote(letter[0]), str(database))
    return f"{_SQLITE if path == str(database) else _SQLITE_ENCODED}{path}"


def check(location: Location) -> None:
    """Asks the backend whether it is there; takes seconds at most, creates only the database's folder.

    Raises:
        TrackingError: It is not; one line with the reason and the hint.
    """
    if location.database:
        _check_database(location.database)
    elif reason := _unreachable(location.uri):
        raise TrackingError(
            f"cannot reach the MLflow server at {location.address} ({reason}). Start it with "
            "`mlflow server`, or leave out --tracking-uri to use a local database."
        )


@contextmanager
def making(location: Location) -> Iterator[None]:
    """Lets one process at a time make the tables and experiments of a database of this machine; the others wait.

    Raises:
        TrackingError: The other one takes too long.
    """
    if location.database is None:
        yield
        return
    lock = FileLock(f"{location.database}.lock", timeout=MAKING_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise TrackingError(
            f"another process has been making the MLflow database {location.database} for {MAKING_SECONDS:g} s: "
            "end it, and launch again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def answers(address: str) -> bool:
    """Tells whether an MLflow server answers at its address."""
    return _unreachable(address) is None


def locate_existing(tracking_uri: str | None, store: Store) -> Location | None:
    """Finds the backend that holds the runs of a storage; None if nothing was ever tracked there."""
    if tracking_uri is None and store.root.local_path is None:
        return None
    location = locate(tracking_uri, store)
    return None if location.database and not location.database.exists() else location


def ui_command(tracking_uri: str | None, store: Store, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """Returns the command line that serves MLflow's web pages for a local database.

    Raises:
        ConfigError: The runs are on a server, which has its own pages; says where.
    """
    location = locate(tracking_uri, store)
    if location.database is None:
        raise ConfigError(f"the runs are on an MLflow server, which has its own pages: open {location.address}")
    # One worker: each of the default four takes 200 MB and seconds to start, for a single reader.
    return [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", location.uri),
        *("--artifacts-destination", str(location.artifacts)),
        *("--host", host, "--port", str(port), "--workers", "1"),
        # A line per request would push the links out of sight.
        *("--uvicorn-opts", "--log-level=warning"),
    ]


def _refusal(tracking_uri: str) -> str:
    scheme, colon, _ = tracking_uri.partition(":")
    if not colon or scheme == "file":
        reason = "is a file store, which MLflow 3.17 no longer opens"
    elif scheme == "sqlite":
        reason = "does not name a database file"
    else:
        reason = "is of a kind that dptq-sweep does not use"
    return (
        f"tracking URI {redact(tracking_uri)!r} {reason}. Use sqlite:///path/to/mlflow.db or the http(s):// "
        "URL of an MLflow server, or leave it out for a local database."
    )


def _check_database(path: Path) -> None:
    """Opens the database for writing; MLflow would retry for 100 s before it says that it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with closing(sqlite3.connect(path, timeout=CHECK_SECONDS)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(
            f"cannot open the MLflow database {path} ({error}). Unlock it or move it away, "
            "or pass another --tracking-uri."
        ) from None


def _unreachable(uri: str) -> str | None:
    """Says why a server does not answer, or None if something there speaks HTTP."""
    parts = urllib.parse.urlsplit(uri)
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}/health"
    try:
        urllib.request.urlopen(url, timeout=CHECK_SECONDS).close()
    except urllib.error.HTTPError as error:
        # 401, 403, 404: a server is there, and MLflow's own client, which has the credentials, may do better.
        return f"it answers HTTP {error.code}" if error.code >= 500 else None
    except urllib.error.URLError as error:
        return _reason(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _reason(error)
    return None


def _reason(error: object) -> str | None:
    if isinstance(error, TimeoutError):
        return f"no answer within {CHECK_SECONDS:g} s"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return "what is there does not speak HTTP"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    # MLflow's client judges certificates: it knows MLFLOW_TRACKING_INSECURE_TLS.
    return None if "CERTIFICATE_VERIFY_FAILED" in str(error) else text.lower()


def first_line(error: Exception) -> str:
    """Returns the first line of what a library says, without credentials."""
    lines = redact(str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0][:400].rstrip(".") + "."
