"""What is known of a pair on a split of the data, as metrics and per image."""

import torch
from torch import Tensor

from search_spaces.objective import DIVERGENCE, LAG, parity_gap
from trainables.evaluation import Classified
from trainables.losses import kd_loss, leads

# B = images, K = classes, L = sites.


def accuracies(split: str, white_box: Classified, full: Classified, quantized: Classified) -> dict[str, float]:
    """Returns the accuracies of white box and student, and their differences, as `<split>/...`."""
    gap = parity_gap(accuracy_white_box=white_box.accuracy, accuracy_fp=full.accuracy)
    # Paired, since both precisions see the same images.
    lost_B = full.is_right_B.double() - quantized.is_right_B.double()
    return {
        f"{split}/accuracy_white_box": white_box.accuracy,
        f"{split}/accuracy_fp": full.accuracy,
        f"{split}/accuracy_q": quantized.accuracy,
        f"{split}/accuracy_delta": quantized.accuracy - full.accuracy,
        f"{split}/parity_gap": gap,
        f"{split}/drop_standard_error": (lost_B.std() / len(lost_B) ** 0.5).item(),
    }


def slopes(split: str, white_box: Classified, full: Classified, quantized: Classified) -> dict[str, float]:
    """Returns what a search climbs: both move where the accuracies of a few hundred images stand still.

    How far the white box's class lies behind the best other one in the quantized student, mean over the images in
    [-1, 1], and the mean KL(white box || student) at full precision in nats, as `<split>/...`.

    The lag is a difference of probabilities rather than of logits: bounded, so that few images which fail by far
    outweigh no others, and one unit for all networks, that of the hinge and of the recipe's margin.
    """
    lead_B = leads(quantized.logits_BK.double().softmax(dim=-1), white_box.predictions_B)
    full_BK, white_box_BK = full.logits_BK.double(), white_box.logits_BK.double()
    return {
        f"{split}/{LAG}": -lead_B.mean().item(),
        f"{split}/{DIVERGENCE}": kd_loss(full_BK, white_box_BK, temperature=1.0, scaled=False).item(),
    }


def changes(split: str, white_box: Classified, full: Classified, quantized: Classified) -> dict[str, float]:
    """Counts the images that change sides, which paired tests need beside the accuracies, as `<split>/...`."""
    white_box_B, full_B, quantized_B = (each.is_right_B for each in (white_box, full, quantized))
    return {
        f"{split}/num_images": float(len(full_B)),
        f"{split}/parity_lost": (white_box_B & ~full_B).double().sum().item(),
        f"{split}/parity_gained": (full_B & ~white_box_B).double().sum().item(),
        f"{split}/drop_lost": (full_B & ~quantized_B).double().sum().item(),
        f"{split}/drop_gained": (quantized_B & ~full_B).double().sum().item(),
    }


def spent(split: str, bit_width_BL: Tensor, budget: int) -> dict[str, float]:
    """Returns what images spend where nothing holds them to the budget.

    Mean, least and most bits of an image, and the share of images that spend exactly the budget, as `<split>/...`.

    Examples:
        >>> spent("test", torch.tensor([[3, 4], [4, 4]]), budget=8)
        {'test/mean_bits': 7.5, 'test/least_bits': 7.0, 'test/most_bits': 8.0, 'test/on_budget': 0.5}
    """
    bits_B = bit_width_BL.sum(1).double()
    return {
        f"{split}/mean_bits": bits_B.mean().item(),
        f"{split}/least_bits": bits_B.min().item(),
        f"{split}/most_bits": bits_B.max().item(),
        f"{split}/on_budget": (bits_B == budget).double().mean().item(),
    }


def columns(white_box: Classified, full: Classified, quantized: Classified, bit_width_BL: Tensor) -> dict[str, Tensor]:
    """Returns what is kept of every image."""
    return {
        "prediction_white_box": white_box.predictions_B,
        "prediction_fp": full.predictions_B,
        "prediction_q": quantized.predictions_B,
        "margin_fp": full.margins_B,
        "margin_q": quantized.margins_B,
        "bit_width": bit_width_BL.to(torch.int8),
    }
