"""Ends the training of a detrimental pair at the epoch where its hit is shown on the validation split.

A hit is measured: a parity gap of at most 1 pp and a drop of at least 10. A training that stopped at the first one
would stop at a lucky one, so two things are asked for besides. The images must show the drop, by the one-sided test of
claims, and the hit must hold for some epochs in a row. Parity is not asked to be shown: that takes more than a thousand
images (`images_needed`), which few validation splits have.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from search_spaces.names import HITS_IN_A_ROW
from search_spaces.objective import CATASTROPHIC_DROP, Claims, accuracies_of, is_catastrophic
from trainables.assessment.paired import drop_interval
from trainables.data.images import VALIDATION


def shows_hit(metrics: Mapping[str, float]) -> bool:
    """Tells whether the validation images make a pair a hit, and exclude chance (5 %) from its drop.

    Examples:
        >>> counts = {"num_images": 100, "drop_lost": 14, "drop_gained": 0}
        >>> accuracies = {"accuracy_white_box": 0.9, "accuracy_fp": 0.9, "accuracy_q": 0.76}
        >>> metrics = {f"validation/{name}": value for name, value in (counts | accuracies).items()}
        >>> shows_hit(metrics), shows_hit(metrics | {"validation/drop_lost": 15, "validation/accuracy_q": 0.75})
        (False, True)
    """
    if not is_catastrophic(**accuracies_of(metrics, VALIDATION)):
        return False
    num_images, lost, gained = (
        round(metrics[f"{VALIDATION}/{name}"]) for name in ("num_images", "drop_lost", "drop_gained")
    )
    low, _ = drop_interval(num_images - lost - gained, lost, gained, 0, Claims().confidence)
    return low >= CATASTROPHIC_DROP


class HitCounter(nn.Module):
    """Counts the epochs in a row that show a hit. A module, so that the count is part of the state to resume from."""

    num_in_a_row: Tensor

    def __init__(self, patience: int) -> None:
        """Begins at none.

        Args:
            patience: Epochs in a row that are enough, at least 1.
        """
        super().__init__()
        self._patience = patience
        self.register_buffer("num_in_a_row", torch.zeros((), dtype=torch.int64))

    def count(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Takes in an epoch's metrics, and returns the count as a metric."""
        if shows_hit(metrics):
            self.num_in_a_row += 1
        else:
            self.num_in_a_row.zero_()
        return {HITS_IN_A_ROW: float(self.num_in_a_row)}

    @property
    def is_enough(self) -> bool:
        """Whether the training ends here."""
        return int(self.num_in_a_row) >= self._patience
