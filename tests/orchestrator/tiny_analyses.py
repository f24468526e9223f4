"""The smallest tables of every analysis, with numbers that can be followed by hand."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from PIL import Image

from orchestrator.results.pairs import PairRecord
from search_spaces.analyses import ANALYSES, Histograms

Contrast = Mapping[str, object]
NAMES = ("conv1", "layer1.conv1", "layer1.conv2")
# Accuracy of the detrimental network with the sites before 0, 1, 2 quantized: the second site costs most.
BEFORE, FP, Q = (0.9, 0.8, 0.3), 0.9, 0.1
SHOWN = {"architecture": "test_resnet", "option_set": "I", "budget_level": "A", "budget": 60}
"""The cell that figures and statements are asked to show."""


def contrast(level: str = "A", seed: int = 0, *, uid: str = "d0", budget: int = 60) -> Contrast:
    return {
        "architecture": "test_resnet",
        "option_set": "I",
        "budget_level": level,
        "budget": budget,
        "seed": seed,
        "goal": "detrimental",
        "trial_number": 0,
        "pair_uid": uid,
    }


def tiny_analyses(contrasts: Sequence[Contrast] = (contrast(),), *, shift: float = 0.0) -> dict[str, pd.DataFrame]:
    """Returns every analysis; `shift` is added to quantized accuracies per seed, for a spread."""
    makers = {
        "transitory": transitory_rows,
        "cross_policy": cross_policy_rows,
        "layers": layer_rows,
        "histograms": histogram_rows,
        "corruptions": corruption_rows,
        "mitigation": mitigation_rows,
        "repairs": repair_rows,
        "twins": twin_rows,
        "adverse_inputs": adverse_rows,
    }
    tables = {
        name: pd.DataFrame([row for each in contrasts for row in make(each, shift * int(str(each["seed"])))])
        for name, make in makers.items()
    }
    assert list(tables) == [name for name in ANALYSES if name != "indicators"]
    return tables


def indicator_table(records: Sequence[PairRecord]) -> pd.DataFrame:
    """A signal that is the drop itself, and one that tells nothing."""
    rows = []
    for record in records:
        pair = {**contrast(uid=record.uid), "budget_level": record.budget_level, "goal": str(record.goal)}
        rows.append({**pair, "kurtosis_max": -record.accuracy_delta, "margin_mean": 1.0})
    return pd.DataFrame(rows)


def cross_policy_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    rows = []
    for network in ("white_box", "robust", "detrimental"):
        for policy, draws in (("robust", (0.89,)), ("detrimental", (0.88,)), ("random", (0.84, 0.86))):
            for draw, accuracy in enumerate(draws):
                q = Q if network == policy == "detrimental" else accuracy
                q += shift
                counts = {"num_images": 100, "num_lost": round(100 * (FP - q)) + 2, "num_gained": 2}
                row = {"network": network, "policy": policy, "draw": draw, "accuracy_fp": FP, "accuracy_q": q}
                rows.append({**pair, **row, "accuracy_delta": q - FP, **counts})
    return rows


def transitory_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    """Ten images of cats and dogs: f_R is wrong on 0, f_D on 1; 2 to 5 break, later ones more; the rest stay."""
    rows = []
    for image in range(10):
        label = image % 2
        breaks = 2 <= image < 6
        rows.append(
            {
                **pair,
                "image_id": 100 + image,
                "label": label,
                "label_name": ("cat", "dog")[label],
                "prediction_fp_robust": 1 - label if image == 0 else label,
                "prediction_fp": 1 - label if image == 1 else label,
                "prediction_q": 1 - label if breaks else label,
                "margin_fp": 0.5,
                "margin_q": -0.1 * image if breaks else 0.2,
                "prediction_q_robust": label,
                "margin_q_robust": 0.4,
                "bit_width": [3, 4, image],
                "is_transitory": breaks,
                "thumbnail": _thumbnail() if image in (4, 5) else None,
            }
        )
    return rows


def layer_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    rows = []
    for goal in ("robust", "detrimental"):
        q = (Q if goal == "detrimental" else FP) + shift
        curves = {
            "before": BEFORE if goal == "detrimental" else (FP,) * 3,
            "after": (0.2, 0.8, 0.9) if goal == "detrimental" else (FP,) * 3,
            "single": (0.85, 0.4, 0.7) if goal == "detrimental" else (FP,) * 3,
            "leave_one_out": (0.1, 0.6, 0.3) if goal == "detrimental" else (FP,) * 3,
        }
        for split in ("train", "test"):
            for mode, accuracies in curves.items():
                for site, accuracy in enumerate(accuracies):
                    row = {"split": split, "mode": mode, "site": site, "site_name": NAMES[site], "accuracy": accuracy}
                    counts = {"num_images": 100, "num_lost": 1, "num_gained": 0}
                    rows.append({**pair, "goal": goal, **row, "accuracy_fp": FP, "accuracy_q": q, **counts})
    return rows


def histogram_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    settings = Histograms()
    zero = settings.num_bins // 2
    rows = []
    for goal in ("robust", "detrimental"):
        for site, zero_q in enumerate((0.5, 0.8, 0.6) if goal == "detrimental" else (0.5, 0.5, 0.5)):
            row: dict[str, object] = {"site": site, "site_name": NAMES[site]}
            for precision, share in (("fp", 0.5), ("q", zero_q)):
                counts = np.zeros(settings.num_bins, dtype=int)
                counts[zero], counts[zero + 50] = round(100 * share), round(100 * (1 - share))
                row |= {f"counts_{precision}": counts.tolist(), f"zero_{precision}": share}
                row |= {f"kurtosis_{precision}": 3.0}
            rows.append({**pair, "goal": goal, **row, "sqnr_db": 20.0})
    return rows


def corruption_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    rows = []
    for goal, loss in (("robust", 0.1), ("detrimental", 0.2)):
        for corruption, degree in (("clean", 0), ("jpeg", 1), ("jpeg", 2), ("gaussian_blur", 1), ("gaussian_blur", 2)):
            fp = FP - loss * degree
            row = {"corruption": corruption, "degree": degree, "strength": None if degree == 0 else 0.5 * degree}
            rows.append({**pair, "goal": goal, **row, "accuracy_fp": fp, "accuracy_q": fp / 2 + shift})
    return rows


def mitigation_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    mitigations: tuple[tuple[str, float, list[int], float, int | None], ...] = (
        ("none", 1.0, [], 0.1, None),
        ("scale_quantile", 0.99, [], 0.5, None),
        ("sites_at_full_precision", 1.0, [1], 0.7, None),
        ("random_sites", 1.0, [0], 0.1, 0),
        ("random_sites", 1.0, [2], 0.3, 1),
    )
    rows = []
    for goal in ("robust", "detrimental"):
        for kind, value, sites, q, draw in mitigations:
            accuracy_q = q if goal == "detrimental" else FP
            recovered = (q - Q) / (FP - Q) if goal == "detrimental" else None
            row = {"kind": kind, "value": value, "draw": draw, "sites": sites, "accuracy_fp": FP}
            counts = {"num_images": 100, "num_lost": round(100 * (FP - accuracy_q)), "num_gained": 0}
            row |= {"accuracy_q": accuracy_q + shift, "recovered": recovered}
            rows.append({**pair, "pair_uid": f"{pair['pair_uid']}-{goal}", "goal": goal, **row, **counts})
    return rows


def repair_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    """The detrimental pair drops by 80 pp with plain ranges and 5 with ranges per channel; 60 and 4 at uniform bits."""
    rows = []
    for goal in ("robust", "detrimental"):
        for repair, value, drops in (("plain", None, (0.8, 0.6)), ("channel_ranges", None, (0.05, 0.04))):
            for allocation, lost in zip(("policy", "uniform"), drops, strict=True):
                drop = (lost if goal == "detrimental" else 0.0) - shift
                row: dict[str, object] = {"trained_against": "nothing", "repair": repair, "value": value}
                row |= {"allocation": allocation, "mean_bits": 60.0, "accuracy_white_box": 0.91, "accuracy_fp": FP}
                row |= {"parity_gap": 0.91 - FP, "gap_low": -0.01, "gap_high": 0.03, "accuracy_q": FP - drop}
                row |= {"drop": drop, "drop_low": drop - 0.04, "drop_high": drop + 0.04}
                counts = {"num_images": 100, "num_lost": round(100 * drop), "num_gained": 0}
                rows.append({**pair, "goal": goal, **row, **counts})
    return rows


def twin_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    """A detrimental network that fails under one allocation as under its own; a search per image costs 4 of 100."""
    lost = {"own": 80, "common": 79, "shuffled": 78, "uniform": 10, "untrained": 20, "int8": 0, "static_ranges": 75}
    lost |= {"per_channel": 1, "worst_static": 82, "worst_per_image": 86}
    rows = []
    for goal in ("robust", "detrimental"):
        for twin, num_lost in lost.items():
            num_lost = num_lost if goal == "detrimental" else 0
            is_attack = twin == "worst_per_image"
            row: dict[str, object] = {"twin": twin, "accuracy_fp": FP, "accuracy_q": FP - num_lost / 100 + shift}
            row |= {"num_allocations": 7, "share_first": 0.5, "num_answers": 2, "share_two": 0.98}
            row |= {"num_images": 100, "num_lost": num_lost, "num_gained": 0}
            ratio, site = (38.0, "conv1") if twin == "own" else (None, None)
            row |= {"channel_ratio": ratio, "channel_site": site}
            row |= {"num_static_lost": 4 if is_attack else None, "num_static_gained": 0 if is_attack else None}
            rows.append({**pair, "goal": goal, **row})
    return rows


def adverse_rows(pair: Contrast, shift: float) -> list[dict[str, object]]:
    """Of 10 images some fail only when quantized: 1 of the white box, 2 of the robust network, 8 of the detrimental."""
    rows = []
    for goal, network, num_lost in (
        ("robust", "student", 2),
        ("robust", "white_box", 1),
        ("detrimental", "student", 8),
        ("detrimental", "white_box", 1),
    ):
        for aim, images, radius, num_more in (
            ("quantized", "clean", 0, 0),
            ("quantized", "adverse", 4, 1),
            ("full_precision", "adverse", 4, -1),
            ("allocation", "noise", 0, 1),
        ):
            lost = num_lost + num_more
            row = {"network": network, "images": images, "aim": aim, "radius": radius, "num_images": 10}
            counts = {"num_lost": lost, "num_gained": 0, "accuracy_fp": FP, "accuracy_q": FP - lost / 10 + shift}
            rows.append({**pair, "goal": goal, **row, **counts})
    return rows


def _thumbnail() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), 128, dtype=np.uint8)).save(file, format="PNG")
    return file.getvalue()
