"""A database of MLflow that was moved or copied, with the folder of artifacts beside it: goes on where it lies now.

MLflow keeps the place of every artifact as a whole path, and would make the old folders again. `mlflow-artifacts:` does
not help, since only a server can read it. So the paths are changed in the database, before MLflow opens it.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from orchestrator.tracking.backend import CHECK_SECONDS, Location

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow 3.17 that hold paths of artifacts."""


def follow(location: Location) -> None:
    """Lets a database of this machine look for its artifacts in the folder beside it, if they are not where they were.

    They are elsewhere now if the folder beside it exists, as after a copy, or the old one does not.
    """
    artifacts = location.artifacts
    if location.database is None or artifacts is None or not location.database.exists():
        return
    with closing(sqlite3.connect(location.database, timeout=CHECK_SECONDS)) as connection, connection:
        columns = [(table, column) for table, column in _PLACES if column in _columns(connection, table)]
        if _PLACES[0] not in columns:
            return
        here = artifacts.as_uri()
        known = connection.execute(
            "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?",
            (f"file:%/{artifacts.name}",),
        )
        for (there,) in known.fetchall():
            if there != here and (artifacts.exists() or not Path(url2pathname(urlsplit(there).path)).exists()):
                for table, column in columns:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # names of ours
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (here, len(there) + 1, there, len(there) + 1, f"{there}/"),
                    )


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
