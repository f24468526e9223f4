"""The log of one trial: what it measured, and why it failed."""

import time
from collections.abc import Iterator

from orchestrator.progress.epoch_table import EpochTable
from orchestrator.store.inventory import sweeps_of
from orchestrator.store.leases.standstill import Standstill
from orchestrator.store.leases.sweeps import Pace
from orchestrator.store.leases.trials import Leases
from orchestrator.store.logs import epoch_line
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder

LOOK_EVERY_SECONDS = 1.0


def log_lines(trial: TrialFolder, store: Store, *, follow: bool, seconds: float = LOOK_EVERY_SECONDS) -> Iterator[str]:
    """Yields a table of epochs, then of a failed trial what its worker printed last and its error, then how it stands.

    With `follow` it waits for what comes until the trial ends, while a launch is at work on its storage.
    """
    record = trial.recipe()
    num_epochs = record.epochs if record else "?"
    yield f"{record.name if record else trial.stage} ({trial.uid})"
    shown, standstill, table = 0, Standstill(Pace().dead_seconds), EpochTable(num_epochs)
    while True:
        # Asked first: what is written between the two questions is shown now and not missed.
        is_over = trial.state().is_final or not follow or not _is_anything_at_work(store, standstill)
        rows = trial.epochs()
        for row in rows[shown:]:
            yield from table.lines(row)
        shown = len(rows)  # fewer than before where a retry lost epochs: they come again
        if is_over:
            break
        time.sleep(seconds)
    # Its worker's last lines begin with those of the last epochs, as text.
    epochs = {epoch_line(row, num_epochs) for row in rows}
    yield from (line for line in trial.log() if line not in epochs)
    if error := trial.error():
        yield error.rstrip()
    state = trial.state()
    if state.is_open and (lease := Leases(store, sweep="").holder(trial.folder)):
        yield f"{lease} trains it"
    yield str(state)


def _is_anything_at_work(store: Store, standstill: Standstill) -> bool:
    return any(sweep.has_driver(standstill) for sweep in sweeps_of(store))
