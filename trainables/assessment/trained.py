"""Rungs that need training: what a trained policy, or a fine-tuned pair, answers on the test images. Needs no torch.

They say what can be done with a network, not what it is: the verdict does not hear of them.

Shape letters: B = images.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from search_spaces.objective import parity_gap
from trainables.assessment.figures import Reference, class_shares, figures_of
from trainables.assessment.record import Rung

_TEST = "test"
_COLUMNS = ("label", "prediction_white_box", "prediction_fp", "prediction_q", "margin_fp")


def trained_rung(rung: str, budget: int, predictions: pa.Table, class_names: Sequence[str]) -> Rung:
    """Counts what the allocations of a trained policy cost the network that they were trained for.

    The drop is against the full precision of that network. Where it was fine-tuned it is another one than was given,
    and `parity_gap` says how much worse it is at full precision.

    Args:
        rung: `policy_robust`, `policy_detrimental` or `pair`.
        budget: Sum of the bit-widths of an image.
        predictions: Of the stage `pair`, as `trainables.stage_runner.predictions_table` lays them out; the rows of its
            test split count.
        class_names: Names of the classes, in their order.
    """
    rows = predictions.select(("split", *_COLUMNS))
    rows = rows.filter(pc.equal(pc.cast(rows["split"], pa.string()), _TEST))
    labels_B, white_box_B, full_B, quantized_B, margins_B = (rows[name].to_numpy() for name in _COLUMNS)
    # A trial keeps the lead of the label. Its size is the margin between the two likeliest classes, but where a wrong
    # answer has the label in third place or later: there it is larger.
    reference = Reference(
        labels_B=labels_B, predictions_B=full_B, margins_B=np.abs(margins_B), num_classes=len(class_names)
    )
    values: dict[str, Any] = asdict(figures_of(reference, quantized_B))
    shares = zip(class_names, class_shares(reference, quantized_B), strict=True)
    values |= {
        "rung": rung,
        "budget": budget,
        "worst_class": class_names[values["worst_class"]],
        "class_shares": {name: float(share) for name, share in shares if share},
    }
    if rung == "pair":
        accuracies = [float((answers_B == labels_B).mean()) for answers_B in (white_box_B, full_B)]
        values["parity_gap"] = parity_gap(accuracy_white_box=accuracies[0], accuracy_fp=accuracies[1])
    return Rung.model_validate(values)
