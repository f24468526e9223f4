"""A trial's log: a line per epoch, and what its worker printed last."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.store.trial import TrialFolder
from search_spaces.errors import StorageError
from search_spaces.uris import redact

NUM_LINES = 100
"""Lines that are kept of a failed trial."""


def last_lines(trial: TrialFolder, printed: Sequence[str] = ()) -> list[str]:
    """Returns the last of a trial's epochs and of the lines that its worker printed, without credentials."""
    try:
        rows = trial.epochs()
        record = trial.recipe() if rows else None
        epochs = [epoch_line(row, record.epochs if record else "?") for row in rows]
    except StorageError as error:
        # A damaged file may be what the trial failed of: its error must still be written.
        epochs = [f"no epochs: {error}"]
    return [redact(line) for line in (*epochs, *printed)][-NUM_LINES:]


def epoch_line(row: Mapping[str, Any], num_epochs: object) -> str:
    """Writes a row of epochs.parquet as a line.

    Examples:
        >>> epoch_line({"epoch": 3, "seconds": 1.234, "timestamp_ms": 0, "train/loss": 0.51234, "train/kd": None}, 32)
        'epoch 3/32  1.2 s  train/loss 0.5123'
    """
    about = ("epoch", "seconds", "timestamp_ms")
    metrics = [f"{name} {value:.4g}" for name, value in row.items() if name not in about and value is not None]
    return "  ".join([f"epoch {row['epoch']}/{num_epochs}", f"{row['seconds']:.1f} s", *metrics])
