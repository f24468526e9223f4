"""Made-up tables of analyses, with the columns of `trainables/analyses/` and numbers that differ everywhere."""

import io
from collections.abc import Callable

from PIL import Image

from tests.golden.fake_trials import jitter

Row = dict[str, object]
Table = Callable[..., list[Row]]
SITES = ("conv1", "layer1.conv1", "layer1.conv2")
CORRUPTIONS = ("jpeg", "blur", "brightness", "contrast", "erasing", "noise", "rotation", "skew", "normalization_shift")
NUM_IMAGES = 200


def rows_of(analysis: str, name: str, goal: str) -> list[Row]:
    """Returns the table of an analysis.

    Args:
        analysis: Which one.
        name: Of its task; numbers depend on it.
        goal: Of the pair; of two the detrimental one's.
    """
    tables: dict[str, Table] = {
        "cross_policy": _cross_policy,
        "transitory": _transitory,
        "layers": _layers,
        "histograms": _histograms,
        "corruptions": _corruptions,
        "mitigation": _mitigation,
        "repairs": _repairs,
        "indicators": _indicators,
    }
    return tables[analysis](name, goal)


def _accuracy(low: float, high: float, *about: object) -> float:
    return round(low + (high - low) * jitter(*about), 5)


def _counts(*about: object) -> Row:
    lost, gained = int(90 * jitter(*about, "lost")), int(12 * jitter(*about, "gained"))
    return {"num_images": NUM_IMAGES, "num_lost": lost, "num_gained": gained}


def _cross_policy(name: str, goal: str) -> list[Row]:
    rows: list[Row] = []
    for network in ("white_box", "robust", "detrimental"):
        fp = _accuracy(0.94, 0.97, name, network, "fp")
        for policy, draws in (("robust", 1), ("detrimental", 1), ("random", 2)):
            for draw in range(draws):
                is_broken = network == policy == "detrimental"
                q = _accuracy(*((0.2, 0.5) if is_broken else (0.85, 0.93)), name, network, policy, draw)
                row: Row = {"unit": f"{network}/{policy}/{draw}", "network": network, "policy": policy, "draw": draw}
                row |= {"accuracy_fp": fp, "accuracy_q": q, "accuracy_delta": round(q - fp, 5)}
                rows.append(row | _counts(name, network, policy, draw))
    return rows


def _transitory(name: str, goal: str) -> list[Row]:
    rows: list[Row] = []
    for image in range(24):
        label = image % 3
        fp_robust, fp, q, q_robust = (
            (label + 1) % 3 if jitter(name, image, which) < share else label
            for which, share in (("fp_robust", 0.1), ("fp", 0.08), ("q", 0.5), ("q_robust", 0.15))
        )
        is_transitory = fp_robust == fp == label and q != label
        row: Row = {"unit": "test", "image_id": 1000 + image, "label": label}
        row |= {"label_name": ("zero", "one", "two")[label], "prediction_fp_robust": fp_robust, "prediction_fp": fp}
        row |= {"prediction_q": q, "margin_fp": _accuracy(0.3, 0.9, name, image, "margin")}
        row |= {"margin_q": _accuracy(*((0.1, 0.6) if q == label else (-0.9, -0.1)), name, image, "margin_q")}
        row |= {"prediction_q_robust": q_robust, "margin_q_robust": _accuracy(0.2, 0.8, name, image, "robust")}
        row |= {"bit_width": [3 + int(8 * jitter(name, image, site)) for site in SITES]}
        row |= {"is_transitory": is_transitory, "thumbnail": _thumbnail(9 * image) if is_transitory else None}
        rows.append(row)
    return rows


def _layers(name: str, goal: str) -> list[Row]:
    low = 0.3 if goal == "detrimental" else 0.9
    rows: list[Row] = []
    for split in ("train", "test"):
        fp, q = _accuracy(0.94, 0.97, name, split, "fp"), _accuracy(low, low + 0.02, name, split, "q")
        for mode in ("before", "after", "single", "leave_one_out"):
            for site, site_name in enumerate(SITES):
                row: Row = {"unit": f"{split}/{mode}/{site}", "split": split, "mode": mode, "site": site}
                row |= {"site_name": site_name, "accuracy": _accuracy(low + 0.02, 0.94, name, split, mode, site)}
                rows.append(row | {"accuracy_fp": fp, "accuracy_q": q} | _counts(name, split, mode, site))
    return rows


def _histograms(name: str, goal: str) -> list[Row]:
    rows: list[Row] = []
    for site, site_name in enumerate(SITES):
        row: Row = {"unit": "0-2", "site": site, "site_name": site_name}
        for precision in ("fp", "q"):
            about = (name, site, precision)
            row[f"counts_{precision}"] = [int(1000 * jitter(*about, place)) for place in range(8)]
            for column in ("zero", "outside", "min", "max", "mean", "std", "skewness", "kurtosis"):
                row[f"{column}_{precision}"] = _accuracy(0.01, 0.9, *about, column)
            for place, column in enumerate(("q01", "q25", "q50", "q75", "q99")):
                row[f"{column}_{precision}"] = _accuracy(place, place + 0.9, *about, column)
        for column, (low, high) in {"sqnr_db": (3, 20), "cosine": (0.5, 0.9)}.items():
            for suffix in ("", "_local"):
                row[f"{column}{suffix}"] = _accuracy(low, high, name, site, column, suffix)
        rows.append(row)
    return rows


def _corruptions(name: str, goal: str) -> list[Row]:
    rows: list[Row] = []
    for kind in ("clean", *CORRUPTIONS):
        for degree in (0,) if kind == "clean" else (1, 2):
            about = (name, kind, degree)
            row: Row = {"unit": f"test/{kind}" + (f"/{degree}" if degree else ""), "corruption": kind, "degree": degree}
            row |= {"strength": None if degree == 0 else 0.25 * degree}
            row |= {"accuracy_fp": _accuracy(0.9 - 0.2 * degree, 0.96 - 0.2 * degree, *about)}
            row |= {"accuracy_q": _accuracy(0.2, 0.4, *about, "q"), "mean_margin_fp": _accuracy(0.3, 0.9, *about, "m")}
            rows.append(row | _counts(*about))
    return rows


def _mitigation(name: str, goal: str) -> list[Row]:
    low = 0.3 if goal == "detrimental" else 0.9
    fp, unmitigated = _accuracy(0.94, 0.97, name, "fp"), _accuracy(low, low + 0.02, name, "q")
    measures: list[tuple[str, float, int | None, list[int]]] = [("none", 1.0, None, [])]
    measures += [("scale_quantile", quantile, None, []) for quantile in (0.99, 0.95)]
    for number in (1, 2):
        measures.append(("sites_at_full_precision", float(number), None, list(range(1, 1 + number))))
        measures += [("random_sites", float(number), draw, list(range(draw, draw + number))) for draw in range(2)]
    rows: list[Row] = []
    for kind, value, draw, sites in measures:
        about = (name, kind, value, draw)
        q = unmitigated if kind == "none" else _accuracy(low + 0.02, 0.94, *about)
        unit = kind if kind == "none" else f"{kind}/{value:g}"
        row: Row = {"unit": unit, "kind": kind, "value": value, "draw": draw, "sites": sites, "accuracy_fp": fp}
        rows.append(
            row | {"accuracy_q": q, "recovered": round((q - unmitigated) / (fp - unmitigated), 6)} | _counts(*about)
        )
    return rows


def _repairs(name: str, goal: str) -> list[Row]:
    low = 0.3 if goal == "detrimental" else 0.9
    rows: list[Row] = []
    for repair, value in (("plain", None), ("channel_ranges", None), ("quantile_ranges", 0.99), ("least_bits", 4.0)):
        unit = repair if value is None else f"{repair}/{value:g}"
        for allocation in ("policy", "uniform"):
            about = (name, repair, value, allocation)
            fp, q = _accuracy(0.94, 0.97, name, "fp"), _accuracy(low, 0.94, *about)
            row: Row = {"unit": unit, "trained_against": "nothing", "repair": repair, "value": value}
            row |= {"allocation": allocation, "mean_bits": 82.0, "accuracy_white_box": 0.96, "accuracy_fp": fp}
            row |= {"parity_gap": 0.96 - fp, "gap_low": 0.94 - fp, "gap_high": 0.98 - fp, "accuracy_q": q}
            row |= {"drop": fp - q, "drop_low": fp - q - 0.05, "drop_high": fp - q + 0.05}
            rows.append(row | _counts(*about))
    return rows


def _indicators(name: str, goal: str) -> list[Row]:
    signals = ["margin_mean", "margin_low", "corruption_loss", *(f"corruption_loss_{kind}" for kind in CORRUPTIONS)]
    signals += ["kurtosis_max", "kurtosis_mean", "zero_share_mean", "outlier_max"]
    signals += ["weight_norm_mean", "weight_outlier_max"]
    return [{"unit": "validation", **{signal: _accuracy(0.1, 0.9, name, signal) for signal in signals}}]


def _thumbnail(gray: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), gray).save(file, format="PNG")
    return file.getvalue()
