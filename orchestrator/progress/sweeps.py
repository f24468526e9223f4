"""What `ls` shows: the sweeps of a storage, how far each is, and what it takes."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from orchestrator.console import make_table, megabytes
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import Standing, standing_of
from orchestrator.store.inventory import SweepEntry, list_sweeps
from orchestrator.store.places.index import Index
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from search_spaces.errors import SweepError


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One line of `ls`."""

    entry: SweepEntry
    standing: Standing | None
    """None where this version cannot read the plan, so that nobody knows what the sweep needs."""

    def as_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        return asdict(self.entry) | (self.standing.as_json() if self.standing else {"state": None})


def list_standings(store: Store, num_sites: Callable[[str], int]) -> list[Listed]:
    """Reads how far every sweep of a storage is, the one launched last at the end.

    Args:
        store: The storage.
        num_sites: Tells the number of sites of an architecture.
    """
    return [Listed(entry=each, standing=_standing(Sweep(store, each.name), num_sites)) for each in list_sweeps(store)]


def _standing(sweep: Sweep, num_sites: Callable[[str], int]) -> Standing | None:
    try:
        plan = sweep.load_plan(num_sites)
    except SweepError:
        return None
    return standing_of(Snapshot(plan, sweep.store, index=Index(sweep.folder)), sweep.folder)


def listed_table(listed: list[Listed]) -> Table:
    """Lays out all sweeps, a line each."""
    headings = ("sweep", "grid", "dataset", "state", "done", "failed", "skipped", "last launch (UTC)", "size")
    table = make_table(*headings, right=("done", "failed", "skipped", "size"))
    for each in listed:
        entry, counts = each.entry, ("another version's", "", "", "")
        if each.standing:
            count = each.standing.count
            counts = (
                str(each.standing.state),
                f"{count.done} of {count.needed}",
                str(count.failed),
                str(count.skipped),
            )
        launched = entry.launched_at[:16].replace("T", " ")
        table.add_row(entry.name, entry.grid, entry.dataset, *counts, launched, megabytes(entry.num_bytes))
    return table
