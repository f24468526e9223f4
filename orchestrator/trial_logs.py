"""The last log lines of a trial: its epochs, and what its worker printed; kept beside the error of a failure."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.trials import TrialFolder
from search_spaces.errors import StorageError
from search_spaces.uris import redact

NUM_LINES = 100
"""Lines that are kept of a failed trial."""


def last_lines(trial: TrialFolder, printed: Sequence[str] = ()) -> list[str]:
    """Returns the last log lines of a trial or an analysis, without credentials.

    Args:
        trial: Whose epochs come first.
        printed: What its worker printed.
    """
    try:
        num_epochs = (trial.recipe() or {}).get("recipe", {}).get("epochs", "?")
        epochs = [epoch_line(row, num_epochs) for row in trial.epochs()]
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
