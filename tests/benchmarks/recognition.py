"""Which networks and answers are recognized, by detectors fitted on other white boxes.

    python -m tests.benchmarks.recognition FOLDER [--attacked 101 102 ...] [--healthy 201 202 ...] [--out docs/results]

Makes the networks of `recognition_networks` where FOLDER does not hold them, measures each once (the tables of signals
lie in FOLDER, too), and judges every network by detectors that have not seen its white box: 143 unlabelled validation
images of digits for a network, the 359 test images for answers. Prints the tables of docs/results.md.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tests.benchmarks.assess_verdicts import CPU, say
from tests.benchmarks.recognition_networks import KINDS, Made, add_arguments, networks, opened
from trainables.assessment.subject import quantizable
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST, VALIDATION, ImageData
from trainables.quant.random_allocation import random_allocations
from trainables.quant.student import QuantizedStudent
from trainables.recognition.detector import (
    alarm_rate_bound,
    auroc,
    auroc_interval,
    cluster_interval,
    fit,
    held_out_scores,
)
from trainables.recognition.image_signals import IMAGE_SIGNALS, image_signals, median_ranges
from trainables.recognition.signals import (
    AVERAGE_BITS,
    NETWORK_SIGNALS,
    answers,
    few_bits,
    network_signals,
    worst_allocation,
)

PLAIN = ("white box", "pair", "rescaled")
DETECTORS = {
    "channels": ("second_ratio", "median_ratio"),
    "allocations": ("changed_uniform", "changed_random", "changed_static"),
    "equalization": ("equalization_gain",),
    "all": tuple(NETWORK_SIGNALS),
}
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Of the images, those with the smallest margins, which fall back."""
FALLBACK_BITS = 8
NUM_HALVES = 200
FEW_ROWS = 5
"""Answers of either outcome that a network must have for an AUROC of its own."""


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--out", type=Path, help="folder of the tables as Parquet")
    parser.add_argument("--as-it-is", action="store_true", help="train nothing, and judge what the folder holds")
    arguments = parser.parse_args()
    if len(arguments.attacked) < 2:
        parser.error(f"--attacked {arguments.attacked}: detectors are judged on other white boxes, so give two seeds.")
    grid, data = opened(arguments.folder)
    rows, images = [], []
    for made in networks(
        arguments.folder, grid, data, arguments.attacked, arguments.healthy, trains=not arguments.as_it_is
    ):
        rows.append(measured(arguments.folder, made, data))
        if made.level:
            images.append(measured_images(arguments.folder, made, data))
        say(f"{made.seed} {made.kind}: {rows[-1]}")
    table, answered = pd.DataFrame(rows).drop(columns="worst"), pd.concat(images, ignore_index=True)
    found = {
        "recognition_networks": table,
        "recognition_auroc": judge_networks(table),
        "recognition_halves": judge_halves(table),
        "recognition_answers": judge_answers(answered),
        "recognition_fallback": fallback(answered),
    }
    for name, each in found.items():
        say(f"\n{name}\n{each.round(3).to_string(index=False)}")
        if arguments.out:
            arguments.out.mkdir(parents=True, exist_ok=True)
            each.to_parquet(arguments.out / f"{name}.parquet", index=False)
    return 0


def measured(folder: Path, made: Made, data: ImageData) -> dict[str, object]:
    """Returns the signals of a network, from the folder where they are there."""
    file = folder / f"signals-{made.seed}-{made.kind.replace(' ', '-')}.parquet"
    if not file.exists():
        network, images = student_of(made), images_of(data, VALIDATION)
        worst_L = worst_allocation(network, images[::2], seed=made.seed)
        row = network_signals(network, images[1::2], worst_L, seed=made.seed)
        name = {"seed": made.seed, "kind": made.kind, "level": made.level}
        pd.DataFrame([{**name, **row, "worst": worst_L.tolist()}]).to_parquet(file)
    return pd.read_parquet(file).iloc[0].to_dict()


def measured_images(folder: Path, made: Made, data: ImageData) -> pd.DataFrame:
    """Returns the signals of the test images at random bits and at the worst static allocation."""
    file = folder / f"images-{made.seed}-{made.kind.replace(' ', '-')}.parquet"
    if not file.exists():
        network, calibration, test = student_of(made), images_of(data, VALIDATION), images_of(data, TEST)
        space, labels_B = few_bits(network), data.splits[TEST].labels_B
        common = {
            "seed": made.seed,
            "kind": made.kind,
            "label": labels_B.numpy(),
            "answer_fp": answers(network, test).numpy(),
            "answer_8": answers(network, test, torch.full((len(test), network.num_sites), FALLBACK_BITS)).numpy(),
        }
        parts = []
        for bits in ("random", "worst static"):
            if bits == "random":
                draws = [
                    random_allocations(len(each), space.num_sites, space.bit_widths, space.budget, (made.seed, number))
                    for number, each in enumerate((calibration, test))
                ]
            else:
                worst_L = torch.tensor(measured(folder, made, data)["worst"])
                draws = [worst_L.repeat(len(each), 1) for each in (calibration, test)]
            median_L = median_ranges(network, calibration, draws[0])
            parts.append(image_signals(network, test, draws[1], median_L).assign(bits=bits, **common))
        pd.concat(parts).to_parquet(file)
    return pd.read_parquet(file)


def student_of(made: Made) -> QuantizedStudent:
    """Returns a network that runs quantized, as pairs are trained."""
    student = quantizable(made.model, weight_bit_width=16, device=CPU)
    assert isinstance(student, QuantizedStudent)
    return student


def images_of(data: ImageData, split: str) -> torch.Tensor:
    """Returns the normalized images of a split."""
    return evaluation_batch(data.splits[split].images_BCHW, data.view)


def judge_networks(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the AUROC and the rates of alarm of every detector, against every kind of attack, on white boxes unseen.

    `fitted_on` says whether attackers who hide were among those that the detector was fitted on.
    """
    kind, seeds = table["kind"].to_numpy(), table["seed"].to_numpy()
    is_attack, rows = kind != "white box", []
    for fitted_on, kinds in {"plain": PLAIN, "all": KINDS}.items():
        for name, signals in DETECTORS.items():
            scores = held_out_scores(table, is_attack, seeds, signals, is_fitted=np.isin(kind, kinds))
            for attack in KINDS[1:]:
                among = (kind == "white box") | (kind == attack)
                value = auroc(scores[among], is_attack[among])
                counts = int((kind == attack).sum()), int((kind == "white box").sum())
                low, high = auroc_interval(value, *counts)
                false_alarms = int((scores[kind == "white box"] > 0).sum())
                rows.append(
                    {
                        "fitted_on": fitted_on,
                        "detector": name,
                        "attack": attack,
                        "auroc": value,
                        "low": low,
                        "high": high,
                        "recognized": int((scores[kind == attack] > 0).sum()),
                        "attacks": counts[0],
                        "false_alarms": false_alarms,
                        "healthy": counts[1],
                        "false_alarm_high": alarm_rate_bound(counts[1] - 1),
                    }
                )
    return pd.DataFrame(rows)


def judge_halves(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the alarms of detectors that were fitted, threshold included, on one half of the white boxes.

    The other half is judged. Both have half of the attacked white boxes; means over `NUM_HALVES` draws.
    """
    kind, seeds = table["kind"].to_numpy(), table["seed"].to_numpy()
    is_attack, random = kind != "white box", np.random.default_rng(0)
    attacked = np.unique(seeds[is_attack])
    others = np.setdiff1d(seeds, attacked)
    rows = []
    for _ in range(NUM_HALVES):
        drawn = [random.permutation(each)[: len(each) // 2] for each in (attacked, others)]
        is_in = np.isin(seeds, np.concatenate(drawn))
        for name, signals in DETECTORS.items():
            fitted = is_in & np.isin(kind, PLAIN)
            alarms = fit(table[fitted], is_attack[fitted], signals).scores(table) > 0
            for judged in KINDS:
                rows.append(
                    {"detector": name, "judged": judged, "alarms": alarms[~is_in & (kind == judged)].mean(), "draws": 1}
                )
    means = pd.DataFrame(rows).groupby(["detector", "judged"], sort=False)
    return means.agg({"alarms": "mean", "draws": "sum"}).reset_index()


def answer_scores(answered: pd.DataFrame, bits: str) -> pd.DataFrame:
    """Returns the answers at one way to choose bits with the scores of detectors that have not seen the white box."""
    rows = answered[answered["bits"] == bits].reset_index(drop=True)
    is_changed = (rows["answer"] != rows["answer_fp"]).to_numpy()
    fitted = np.isin(rows["kind"], PLAIN)
    return rows.assign(
        is_changed=is_changed,
        score=held_out_scores(rows, is_changed, rows["seed"].to_numpy(), tuple(IMAGE_SIGNALS), is_fitted=fitted),
        **{f"score_{signal}": rows[signal] * (-1 if signal == "margin" else 1) for signal in IMAGE_SIGNALS},
    )


def judge_answers(answered: pd.DataFrame) -> pd.DataFrame:
    """Returns the mean AUROC within networks of white boxes unseen: which answers has quantization changed?"""
    rows = []
    for bits in answered["bits"].unique():
        scored = answer_scores(answered, bits)
        for kind in KINDS:
            own = scored[scored["kind"] == kind]
            row = {"bits": bits, "kind": kind, "changed": own["is_changed"].mean()}
            for name in ("", *(f"_{signal}" for signal in IMAGE_SIGNALS)):
                values = [
                    auroc(each[f"score{name}"].to_numpy(), each["is_changed"].to_numpy())
                    for _, each in own.groupby("seed")
                    if min(each["is_changed"].sum(), (~each["is_changed"]).sum()) >= FEW_ROWS
                ]
                row[f"auroc{name}"] = np.mean(values) if values else np.nan
                if not name:
                    row["networks"] = len(values)
                    row["low"], row["high"] = cluster_interval(values) if len(values) > 1 else (np.nan, np.nan)
            rows.append(row)
    return pd.DataFrame(rows)


def fallback(answered: pd.DataFrame) -> pd.DataFrame:
    """Returns the accuracy, and the bits a site that it costs to answer the images of the smallest margins at 8 bits.

    The margin needs no other pass. An image that falls back is answered twice; all of them are answered at 8 bits only.
    """
    rows = []
    for bits in answered["bits"].unique():
        for kind in KINDS:
            own = answered[(answered["bits"] == bits) & (answered["kind"] == kind)].sort_values("margin")
            rank = own.groupby("seed").cumcount() / own.groupby("seed")["margin"].transform("size")
            for share in SHARES:
                falls = (rank < share).to_numpy()
                answer = np.where(falls, own["answer_8"], own["answer"])
                spent = FALLBACK_BITS if share == 1 else AVERAGE_BITS + FALLBACK_BITS * falls.mean()
                rows.append(
                    {
                        "bits": bits,
                        "kind": kind,
                        "share": share,
                        "accuracy": (answer == own["label"]).mean(),
                        "accuracy_fp": (own["answer_fp"] == own["label"]).mean(),
                        "bits_per_site": float(spent),
                    }
                )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    sys.exit(main())
