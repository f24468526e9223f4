"""A sweep's folder: which plan the name stands for, and which driver works on it."""

import datetime
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.plan import SCHEMA, Plan, build_plan
from orchestrator.store import Folder, Store
from search_spaces.errors import ConfigError, StorageError, unknown_name
from search_spaces.grids import Grid
from search_spaces.recipes import parse_recipe

PLAN = "plan.json"
LOCK = "driver.lock"
LAUNCH = "launch.json"
"""When the sweep was launched last, and with which command."""


class Sweep:
    """One sweep on a store."""

    def __init__(self, store: Store, name: str) -> None:
        """Points at a sweep, which need not exist.

        Raises:
            ConfigError: The name would leave the storage folder.
        """
        if not name or name.startswith(".") or not all(letter.isalnum() or letter in "-_." for letter in name):
            raise ConfigError(f"sweep name {name!r} cannot be a folder: use letters, digits, '-', '_' and '.'.")
        self.store, self.name = store, name
        self.folder: Folder = store.sweep(name)

    def load_plan(self, num_sites: Callable[[str], int]) -> Plan:
        """Returns the plan that the name stands for.

        Raises:
            UnknownNameError: No sweep of this name is on the store.
            StorageError: Its plan was written by another version of this program.
        """
        content = self.folder.read_json(PLAN)
        if content is None:
            raise unknown_name("sweep", self.name, self.store.root.folder("sweeps").names())
        if content.get("schema") != SCHEMA:
            raise StorageError(
                f"{self.folder.root}/{PLAN} has schema {content.get('schema')}, this version reads {SCHEMA}: "
                "use the version that wrote it."
            )
        return build_plan(parse_recipe(Grid, content["grid"]), num_sites)

    def save_plan(self, plan: Plan) -> None:
        """Binds the name to a plan, for good.

        Raises:
            ConfigError: The name stands for another plan already.
        """
        content = {
            "schema": SCHEMA,
            "grid": plan.grid.model_dump(mode="json"),
            "uids": [n.uid for n in plan.nodes],
        }
        existing = self.folder.read_json(PLAN)
        if existing is None:
            self.folder.write_json(PLAN, content)
        elif existing != json.loads(json.dumps(content)):
            raise ConfigError(
                f"sweep {self.name!r} exists with another plan ({len(existing.get('uids', []))} trials, this one has "
                f"{len(plan.nodes)}): choose another --name, or the flags and the grid file it was launched with."
            )

    def save_launch(self, arguments: list[str]) -> None:
        """Notes the time and the command of a launch."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        self.folder.write_json(LAUNCH, {"launched_at": now, "arguments": arguments})

    def launch_command(self) -> str:
        """Returns the command that launched the sweep last, which also finishes it."""
        arguments = (self.folder.read_json(LAUNCH) or {}).get("arguments", ["launch"])
        return shlex.join(["dptq-sweep", *arguments])

    @contextmanager
    def driver(self) -> Iterator[None]:
        """Keeps a second driver off the sweep. The system frees the lock of a process that dies, however it dies.

        Raises:
            ConfigError: Another process is at work on the sweep.
        """
        path = self._lock_path()
        if path is None:
            # Object storage has no locks; two drivers would only do work twice, since files appear whole.
            yield
            return
        try:
            with FileLock(path, timeout=0):
                yield
        except Timeout:
            raise ConfigError(
                f"sweep {self.name!r} is being run by another process: wait for it, or look at it with "
                f"`dptq-sweep status {self.name}`."
            ) from None

    def has_driver(self) -> bool:
        """Tells whether a process on this machine works on the sweep."""
        path = self._lock_path()
        if path is None or not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True

    def _lock_path(self) -> Path | None:
        local = self.folder.local_path
        return local / LOCK if local else None


def latest_sweep_name(store: Store) -> str:
    """Returns the name of the sweep that was launched last.

    Raises:
        ConfigError: No sweep was ever launched on this storage.
    """
    folder = store.root.folder("sweeps")
    launches = {name: folder.folder(name).read_json(LAUNCH) or {} for name in folder.names()}
    if not launches:
        raise ConfigError(f"no sweep in {store.uri}: start one with `dptq-sweep launch`, or name its --storage.")
    return max(launches, key=lambda name: launches[name].get("launched_at", ""))
