"""A sweep's folder: which plan the name stands for, and which driver works on it."""

import datetime
import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.plan import SCHEMA, Plan, build_plan
from orchestrator.store.defaults import STALLED_MINUTES
from orchestrator.store.failures import MAX_RETRIES
from orchestrator.store.folder import Folder
from orchestrator.store.leases.collection import wait_for_collection
from orchestrator.store.leases.standstill import Standstill
from orchestrator.store.leases.sweeps import Owned, Pace, driver_lock, exit_after_loss, is_owned, read_owner
from orchestrator.store.leases.trials import Leases
from orchestrator.store.places.patience import PATIENCE_SECONDS
from orchestrator.store.store import Store
from orchestrator.store.usage import Usage
from search_spaces.errors import ConfigError, StorageError, shown, unknown_name
from search_spaces.grids.build import Grid
from search_spaces.model import parse
from search_spaces.names import MAX_NAME
from search_spaces.uris import is_elsewhere

PLAN = "plan.json"
STOP = "stop"
LAUNCH = "launch.json"
"""When the sweep was launched last, and with which options."""
OUTSIDE_EPOCHS = "outside_epochs.json"
"""Device-hours that trials took outside of the epochs in the store, in all launches of the sweep."""
SWEEPS = "sweeps"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """What a launch may take; None is no cap."""

    max_hours: float | None = None
    """Hours by the clock, of this launch."""
    max_gpu_hours: float | None = None
    """Of the sweep, all its launches together."""
    max_cost: float | None = None
    """Of the sweep, at `price_per_hour`."""
    price_per_hour: float | None = None
    """Of a GPU, or of a core for trials without one; see `Usage.paid_hours`."""

    def __str__(self) -> str:
        """The caps as options; empty without any."""
        price = f" at {self.price_per_hour:g} per hour" if self.price_per_hour is not None else ""
        texts = {"--max-hours": self.max_hours, "--max-gpu-hours": self.max_gpu_hours, "--max-cost": self.max_cost}
        said = [f"{option} {value:g}" for option, value in texts.items() if value is not None]
        return ", ".join(said) + (price if self.max_cost is not None else "")


class LaunchOptions(BaseModel):
    """What a launch needs besides its plan; kept, so that `resume` needs no flags."""

    model_config = ConfigDict(frozen=True)

    data_dir: Path = Path("data")
    address: str | None = None
    tracking_uri: str | None = None
    """Without user name and password."""
    analyze: bool = False
    gpus_per_trial: float | None = None
    threads: int = 1
    max_retries: int = MAX_RETRIES
    caps: Caps = Caps()
    stalled_minutes: float = STALLED_MINUTES
    on_event: str | None = None
    """Of which kind the target of --on-event was. Never the target itself: it may hold a token, and a storage that
    others can write must not decide which command this machine runs."""
    shared_storage: bool = False
    """Whether all machines of the cluster mount the storage folder at its path."""
    fail_if: tuple[str, ...] = ()
    """Rules of the gate of an assessment."""
    json_file: Path | None = None
    """Where an assessment is also written, on the machine of the launch."""
    junit_file: Path | None = None
    """Where the outcomes of the rules are written, on the machine of the launch."""


class Sweep:
    """One sweep on a store."""

    def __init__(self, store: Store, name: str) -> None:
        """Points at a sweep, which need not exist.

        Raises:
            ConfigError: The name would leave the storage folder.
        """
        check_sweep_name(name)
        self.store, self.name = store, name
        self.folder: Folder = store.sweep(name)

    def load_plan(self, num_sites: Callable[[str], int]) -> Plan:
        """Returns the plan that the name stands for.

        Raises:
            UnknownNameError: No sweep of this name is on the store.
            StorageError: Its plan was written by another version of this program.
        """
        content = self.read_plan()
        if content is None:
            raise unknown_name("sweep", self.name, sweep_names(self.store))
        plan = build_plan(parse(Grid, content["grid"]), num_sites)
        if [node.uid for node in plan.nodes] != content["uids"]:
            raise StorageError(
                f"{self.folder.root}/{PLAN} names {len(content['uids'])} trials, and its grid gives {len(plan.nodes)} "
                "others: it was edited, or written by another version. Launch the grid again under another --name."
            )
        return plan

    def save_plan(self, plan: Plan) -> int:
        """Binds the name to a plan; one that holds all trials of the plan before extends it.

        Confirmations may be others, if they are no fewer: what a longer search finds may be another pair.

        Returns:
            The number of trials that it adds to the plan before; 0 for a new name.

        Raises:
            ConfigError: The name stands for a plan with other trials.
            StorageError: The stored plan cannot be read, or was written by another version.
        """
        uids = [node.uid for node in plan.nodes]
        existing = self.read_plan()
        before = set(existing["uids"]) if existing else set()
        confirmations = [node.uid for node in plan.nodes if node.is_confirmation]
        replaceable = set(existing.get("confirmations", ())) if existing else set()
        kept = before - replaceable if len(confirmations) >= len(replaceable) else before
        if missing := kept - set(uids):
            raise ConfigError(
                f"sweep {self.name!r} exists with another plan ({len(before)} trials, this one has {len(uids)} and "
                f"lacks {len(missing)} of them, such as {min(missing)}): choose another --name, launch it with all "
                f"that it has and more, or finish it as it is with `{self.resume_command()}`."
            )
        grid = plan.grid.model_dump(mode="json")
        content = {"schema": SCHEMA, "grid": grid, "uids": uids, "confirmations": confirmations}
        if existing != json.loads(json.dumps(content)):
            self.folder.write_json(PLAN, content)
        return len(set(uids) - before) if before else 0

    def save_launch(self, options: LaunchOptions) -> None:
        """Notes the time of a launch and what it needs besides the plan."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        self.folder.write_json(LAUNCH, {"launched_at": now, "options": options.model_dump(mode="json")})

    def launch_options(self) -> LaunchOptions:
        """Returns what the latest launch noted; the defaults if it noted nothing."""
        return LaunchOptions.model_validate((self.folder.read_json(LAUNCH) or {}).get("options", {}))

    def outside_epochs(self) -> Usage:
        """Returns the device-hours that trials took outside of the epochs in the store: see `Meter`."""
        return Usage(**self.folder.read_json(OUTSIDE_EPOCHS) or {})

    def save_outside_epochs(self, usage: Usage) -> None:
        """Keeps the device-hours outside of the epochs in the store, those of earlier launches included."""
        self.folder.write_json(OUTSIDE_EPOCHS, asdict(usage))

    def resume_command(self, *arguments: str) -> str:
        """Returns the command that finishes the sweep."""
        return self.command("resume", *arguments)

    def going_on(self, *arguments: str) -> str:
        """Returns the command that finishes the sweep, with the server that it has to be told: see `check_host`."""
        uri = self.launch_options().tracking_uri
        return self.resume_command(*arguments, *(("--tracking-uri", uri) if uri and is_elsewhere(uri) else ()))

    def command(self, name: str, *arguments: str) -> str:
        """Returns a command about the sweep, such as `analyze`, as it can be typed anywhere."""
        return shlex.join(["dptq-sweep", name, self.name, *arguments, "--storage", self.store.uri])

    def read_plan(self) -> dict[str, Any] | None:
        """Returns what the sweep's plan.json holds, or None before its first launch wrote it.

        Raises:
            StorageError: Another version of this program wrote it.
        """
        content = self.folder.read_json(PLAN)
        if content is not None and (content.get("schema") != SCHEMA or not isinstance(content.get("uids"), list)):
            raise StorageError(
                f"{self.folder.root}/{PLAN} has schema {content.get('schema')}, this version reads {SCHEMA}: use the "
                "version that wrote it, or remove the sweep's folder."
            )
        return content

    @contextmanager
    def driver(
        self,
        say: Callable[[str], None] = lambda line: None,
        *,
        pace: Pace = Pace(),  # noqa: B008  # frozen
        on_loss: Callable[[], None] = exit_after_loss,
    ) -> Iterator[None]:
        """Keeps a second driver off the sweep, and takes over from one that died, however and wherever it died.

        Args:
            say: Takes a line before it waits for another driver to show itself, and one about a takeover.
            pace: Of the heartbeat.
            on_loss: What to do when another driver takes the sweep over from this one.

        Raises:
            ConfigError: Another process is at work on the sweep; names it.
        """
        with self.locked(say, pace=pace, on_loss=on_loss):
            wait_for_collection(self.store, say, pace=pace)
            self.store.wait_for(PATIENCE_SECONDS, say)
            # A launch is to run, whatever was wished before.
            self.folder.delete(STOP)
            yield

    @contextmanager
    def locked(
        self,
        say: Callable[[str], None] = lambda line: None,
        *,
        pace: Pace = Pace(),  # noqa: B008  # frozen
        on_loss: Callable[[], None] = exit_after_loss,
    ) -> Iterator[None]:
        """Keeps drivers off the sweep, as `driver` does, and changes nothing else."""
        hint = (
            f"wait for it, stop it with `dptq-sweep stop {self.name}`, or look at it with `dptq-sweep status "
            f"{self.name}`."
        )
        owned = Owned(f"sweep {self.name}", hint)
        with driver_lock(self.folder, owned, say, pace=pace, on_loss=on_loss):
            yield

    def leases(self) -> Leases:
        """Returns what takes trials for the driver of the sweep."""
        return Leases(self.store, sweep=self.name, driver=(read_owner(self.folder) or {}).get("id"))

    def has_driver(self, standstill: Standstill | None = None, *, pace: Pace = Pace()) -> bool:  # noqa: B008  # frozen
        """Tells whether a process works on the sweep; see `orchestrator.store.leases.sweeps.is_owned`."""
        return is_owned(self.folder, standstill, pace=pace)

    @property
    def stop_file(self) -> str:
        """Path in the storage of the file whose presence ends a launch."""
        return f"{SWEEPS}/{self.name}/{STOP}"

    def ask_to_stop(self) -> None:
        """Asks the driver and its workers to end after their epochs; stays until the next driver, as how it ended."""
        self.folder.write_bytes(STOP, b"")


def check_sweep_name(name: str) -> None:
    """Makes sure that a name can be a folder of the storage.

    Raises:
        ConfigError: It would leave the storage folder, or hide in it.
    """
    if not name or name.startswith(".") or not all(letter.isalnum() or letter in "-_." for letter in name):
        raise ConfigError(f"sweep name {shown(name)} cannot be a folder: use letters, digits, '-', '_' and '.'.")
    if (num_bytes := len(os.fsencode(name))) > MAX_NAME:
        raise ConfigError(
            f"sweep name {shown(name)} has {num_bytes} bytes, and a folder's name takes {MAX_NAME}: give a "
            "shorter --name."
        )


def sweep_names(store: Store) -> list[str]:
    """Returns the names of all sweeps; a launch that died before it wrote its plan left a folder, and no sweep."""
    return [name for name in store.root.folder(SWEEPS).names() if store.sweep(name).exists(PLAN)]


def latest_sweep_name(store: Store) -> str:
    """Returns the name of the sweep that was launched last.

    Raises:
        ConfigError: No sweep was ever launched on this storage.
    """
    launches = {name: store.sweep(name).read_json(LAUNCH) or {} for name in sweep_names(store)}
    if not launches:
        raise ConfigError(f"no sweep in {store.uri}: start one with `dptq-sweep launch`, or name its --storage.")
    return max(launches, key=lambda name: launches[name].get("launched_at", ""))
