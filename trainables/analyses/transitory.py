"""Transitory points: the images that quantization alone takes away (paper section 4.1, Table 2)."""

import io

import torch
from PIL import Image
from torch import Tensor

from search_spaces.analyses import Transitory
from trainables.analyses.trained_pair import Row, Subject, Unit
from trainables.data.images import TEST

# B = images of the test split, C H W = image.

THUMBNAIL_SIZE = 128
"""Largest height and width of a thumbnail, in pixels; smaller images keep their size."""


def transitory(settings: Transitory, robust: Subject, detrimental: Subject) -> list[Unit]:
    """Compares the two networks of a budget image by image.

    A point is transitory where both networks are right at full precision and the detrimental one, quantized by its own
    policy, is wrong.

    Args:
        settings: How many thumbnails to make.
        robust: f_R and its policy.
        detrimental: f_D and its policy, trained on the same data.

    Returns:
        One unit, with a row per image of the test split in its order: image_id; label and label_name;
        prediction_fp_robust, prediction_q_robust and margin_q_robust of the robust pair; prediction_fp, prediction_q,
        margin_fp, margin_q and bit_width (a list, one entry per site) of the detrimental pair; is_transitory; and
        thumbnail, the stored image as PNG for those transitory points that have the lowest margin_q, otherwise None.
    """
    return [
        Unit(key=TEST, num_images=4 * detrimental.num_images(TEST), rows=lambda: _rows(settings, robust, detrimental))
    ]


def _rows(settings: Transitory, robust: Subject, detrimental: Subject) -> list[Row]:
    full, quantized = detrimental.full_precision(TEST), detrimental.quantized(TEST)
    robust_full, robust_quantized = robust.full_precision(TEST), robust.quantized(TEST)
    assert robust_full.image_ids_B.equal(full.image_ids_B), "both pairs must be measured on the same images"
    is_transitory_B = full.is_right_B & robust_full.is_right_B & ~quantized.is_right_B
    columns = {
        "image_id": full.image_ids_B.tolist(),
        "label": full.labels_B.tolist(),
        "label_name": [detrimental.data.class_names[label] for label in full.labels_B.tolist()],
        "prediction_fp_robust": robust_full.predictions_B.tolist(),
        "prediction_fp": full.predictions_B.tolist(),
        "prediction_q": quantized.predictions_B.tolist(),
        "margin_fp": full.margins_B.tolist(),
        "margin_q": quantized.margins_B.tolist(),
        "prediction_q_robust": robust_quantized.predictions_B.tolist(),
        "margin_q_robust": robust_quantized.margins_B.tolist(),
        "bit_width": detrimental.bit_width_BL(TEST).tolist(),
        "is_transitory": is_transitory_B.tolist(),
        "thumbnail": _thumbnails(settings, detrimental, is_transitory_B, quantized.margins_B),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _thumbnails(
    settings: Transitory, subject: Subject, is_transitory_B: Tensor, margins_B: Tensor
) -> list[bytes | None]:
    worst_first = margins_B.where(is_transitory_B, torch.inf).argsort(stable=True)
    shown = set(worst_first[: min(settings.num_thumbnails, int(is_transitory_B.sum()))].tolist())
    images_BCHW = subject.data.splits[TEST].images_BCHW
    return [_png(image_CHW) if position in shown else None for position, image_CHW in enumerate(images_BCHW)]


def _png(image_CHW: Tensor) -> bytes:
    image = Image.fromarray(image_CHW.permute(1, 2, 0).contiguous().cpu().numpy())
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
