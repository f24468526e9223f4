"""Transitory points in numbers: how many (Table 2), which, and whether different pairs share them."""

from collections.abc import Hashable
from itertools import combinations

import pandas as pd

from orchestrator.reports.seeds import CELL, CONTRAST, Row
from orchestrator.reports.statistics import wilson_interval
from orchestrator.reports.table1 import PAPER_DATASET
from search_spaces.paper import TABLE_2, TABLE_3_CELL

MARGINS = ("margin_fp", "margin_q", "margin_q_robust")
OVERLAP_COLUMNS = (
    *(f"{name}_{which}" for which in ("a", "b") for name in CONTRAST),
    *("num_a", "num_b", "num_shared", "jaccard"),
)


def table2(transitory: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Counts the transitory points of every contrast.

    Args:
        transitory: The table of the analysis, a row per test image.
        dataset: What the sweep trains on; the paper's numbers stand beside the paper's dataset only.

    Returns:
        A row per contrast: num_images; num_transitory; num_both_right, the images that both networks get right at full
        precision; share (of all images) and share_of_both_right, fractions with Wilson's interval as `_low` and
        `_high`; paper_share. The paper's number is of one pair per network; where the text says which, it stands
        beside that one only.
    """
    rows = []
    for key, images in transitory.groupby(list(CONTRAST), sort=False):
        fp, label = images["prediction_fp"], images["label"]
        num_images, num_transitory = len(images), int(images["is_transitory"].sum())
        num_both_right = int(((images["prediction_fp_robust"] == label) & (fp == label)).sum())
        row: dict[Hashable, object] = dict(zip(CONTRAST, key, strict=True))
        row |= {"num_images": num_images, "num_transitory": num_transitory, "num_both_right": num_both_right}
        for name, whole in (("share", num_images), ("share_of_both_right", num_both_right)):
            low, high = wilson_interval(num_transitory, whole)
            row |= {name: num_transitory / whole if whole else None, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"paper_share": _paper_share(row, dataset)})
    return pd.DataFrame(rows)


def overlaps(transitory: pd.DataFrame) -> pd.DataFrame:
    """Compares the transitory points of every two contrasts that were measured on the same images.

    Returns:
        A row per two contrasts (their CONTRAST columns with `_a` and `_b`): num_a and num_b transitory points,
        num_shared, and the Jaccard index, num_shared over the points of either; missing where neither has any.
    """
    seen: list[tuple[tuple[Hashable, ...], frozenset[int], frozenset[int]]] = []
    for key, images in transitory.groupby(list(CONTRAST), sort=False):
        points = images.loc[images["is_transitory"], "image_id"]
        seen.append((key, frozenset(images["image_id"]), frozenset(points)))
    rows = []
    for (key_a, images_a, a), (key_b, images_b, b) in combinations(seen, 2):
        if images_a == images_b:
            jaccard = len(a & b) / len(a | b) if a | b else None
            rows.append((*key_a, *key_b, len(a), len(b), len(a & b), jaccard))
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS))


def worst_points(transitory: pd.DataFrame) -> pd.DataFrame:
    """Lists all transitory points, by contrast, the most wrong ones first.

    Returns:
        A row per transitory point: CONTRAST, image_id, label_name, prediction_q_name and prediction_q_robust_name (the
        classes that the quantized networks see), the margins of `MARGINS` (probability or logit of the label before
        the best other class; negative where wrong), and bit_widths (text, by site: what the
        detrimental policy chose).
    """
    points = transitory[transitory["is_transitory"].astype(bool)]
    names = class_names(transitory)
    listed = points[[*CONTRAST, "image_id", "label_name"]].copy()
    for column in ("prediction_q", "prediction_q_robust"):
        listed[f"{column}_name"] = [names.get(label, str(label)) for label in points[column]]
    listed[list(MARGINS)] = points[list(MARGINS)]
    listed["bit_widths"] = [" ".join(map(str, bits)) for bits in points["bit_width"]]
    order = transitory.groupby(list(CONTRAST), sort=False).ngroup().loc[points.index]
    listed = listed.assign(order=order).sort_values(["order", "margin_q"], kind="stable")
    return listed.drop(columns="order").reset_index(drop=True)


def class_names(transitory: pd.DataFrame) -> dict[int, str]:
    """Returns the names of the classes that occur among the labels."""
    known = transitory.drop_duplicates("label")
    return {int(label): str(name) for label, name in zip(known["label"], known["label_name"], strict=True)}


def _paper_share(row: Row, dataset: str) -> float | None:
    architecture = str(row["architecture"])
    if dataset != PAPER_DATASET or architecture not in TABLE_2:
        return None
    cell = tuple(row[name] for name in CELL[:3])
    is_another = architecture == TABLE_3_CELL[0] and cell != TABLE_3_CELL
    return None if is_another else round(TABLE_2[architecture] / 100, 6)
