"""`dptq-sweep logs`: what one trial measured, and why it failed."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from orchestrator.commands.options import storage_option
from orchestrator.inventory import find_trial, sweeps_of
from orchestrator.store import Store
from orchestrator.trials import ENDED_BADLY, State, TrialFolder

ENDED = (State.DONE, State.PRUNED, *ENDED_BADLY)
LOOK_EVERY_SECONDS = 1.0


@click.command("logs")
@click.argument("trial", metavar="UID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the trial ends or nobody works on it.")
@storage_option
def command(trial: str, follow: bool, storage: str) -> None:
    """Print the epochs of a trial and its error; UID is the beginning of its uid, or its name."""
    store = Store(storage, create=False)
    for line in log_lines(find_trial(store, trial), store, follow=follow):
        click.echo(line)


def log_lines(trial: TrialFolder, store: Store, *, follow: bool, seconds: float = LOOK_EVERY_SECONDS) -> Iterator[str]:
    """Yields a line per epoch, then how the trial stands.

    Args:
        trial: Whose log.
        store: Its storage; a launch that is at work there may run it.
        follow: Wait for what comes until it ends.
        seconds: Between two looks.
    """
    recipe = trial.recipe() or {}
    num_epochs = recipe.get("recipe", {}).get("epochs", "?")
    yield f"{recipe.get('name', trial.stage)} ({trial.uid})"
    shown = 0
    while True:
        # Asked first: what is written between the two questions is shown now and not missed.
        is_over = trial.state() in ENDED or not follow or not any(sweep.has_driver() for sweep in sweeps_of(store))
        rows = trial.epochs()
        for row in rows[shown:]:
            yield epoch_line(row, num_epochs)
        shown = len(rows)  # fewer than before where a retry lost epochs: they come again
        if is_over:
            break
        time.sleep(seconds)
    if error := trial.error():
        yield error.rstrip()
    yield str(trial.state())


def epoch_line(row: Mapping[str, Any], num_epochs: object) -> str:
    """Writes a row of epochs.parquet as a line.

    Examples:
        >>> epoch_line({"epoch": 3, "seconds": 1.234, "timestamp_ms": 0, "train/loss": 0.51234, "train/kd": None}, 32)
        'epoch 3/32  1.2 s  train/loss 0.5123'
    """
    about = ("epoch", "seconds", "timestamp_ms")
    metrics = [f"{name} {value:.4g}" for name, value in row.items() if name not in about and value is not None]
    return "  ".join([f"epoch {row['epoch']}/{num_epochs}", f"{row['seconds']:.1f} s", *metrics])
