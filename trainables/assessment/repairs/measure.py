"""Repairs of a network that fails, and what each is worth: at uniform bits, and against attacks that know it.

Repairs are chosen on images of the validation split at uniform bits (`network.failing_bits`). What they are worth is
measured on test images at the same bits per site, before and after, by three allocations of the sites whose bits are
not pinned by the repair: uniform ones; the worst static one, searched again on the repaired network; the worst of
every image, searched on it too.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from search_spaces.budgets import OPTION_SETS
from search_spaces.stages.assessment import INT8
from trainables.assessment.figures import figures_of
from trainables.assessment.network import FAILS
from trainables.assessment.repairs.cures import Cure, smallest_sites, standard_cures
from trainables.assessment.repairs.files import (
    as_json,
    modelopt_rules,
    onnxruntime_exclusions,
    our_yaml,
    torchao_exclusions,
)
from trainables.assessment.subject import Images, Network, Subject, logits
from trainables.assessment.verdict import LEAST_EXPONENT
from trainables.attacks.free_sites import DifferentiableFreeSites, FreeSites
from trainables.attacks.per_image import worst_per_image
from trainables.attacks.scores import GradientScores
from trainables.attacks.space import Space
from trainables.attacks.static import worst_static
from trainables.quant.sites import Site
from trainables.runtimes.onnx_equalization import equalize_onnx
from trainables.runtimes.onnxruntime import OnnxNetwork

MOST_SITES = 8
"""Largest number of sites that a repair leaves out: more of them are another format."""
CURE_COLUMNS = (
    *("name", "kind", "full_precision", "uniform", "worst_static", "worst_per_image"),
    *("ours", "onnxruntime", "torchao", "modelopt"),
)
FIGURE_COLUMNS = ("name", "rung", "budget", "num_images", "accuracy", "drop", "drop_low", "drop_high")
AS_IT_IS = ""
"""Name of the network without a repair, in the table of figures."""
LEAST_PASSES = 12
"""Passes per image of each attack on a heavy network, of which few images are scanned."""
TEST_IMAGES = 4
"""Most test images that repairs are measured on, in multiples of the scanned ones; the attack per image has one."""


def measure_repairs(
    subject: Subject, sites: pd.DataFrame, links: pd.DataFrame, num_images: int, *, seed: int
) -> dict[str, pd.DataFrame]:
    """Chooses repairs and measures them; none if all is well.

    Args:
        subject: What fails.
        sites: `sites.measure_sites`, with the bits that it was measured at.
        links: `link_scan.scan_links`.
        num_images: Most images of the selection that repairs and static attacks are chosen on. Measured are
            `TEST_IMAGES` times as many, and as many per image. Attacks take `LEAST_PASSES` of an image, and a quarter
            of `num_images` if that is more: few images are those of a heavy network.
        seed: Of the attacks.

    Returns:
        The table `cures`, a row per repair, with its accuracies and its configuration files, empty where a tool cannot
        express it; and `cure_figures`, a row per repair and rung, and per rung of the network as it is (`AS_IT_IS`).
    """
    network, bits, few = subject.network, int(sites["bits"].iloc[0]), subject.selection.first(num_images)
    some_BCHW = few.read(0, min(len(few), 8))
    cures = _chosen(network, few, some_BCHW, sites, links)
    attacks = _Attacks(subject, bits, num_images, seed)
    figures = attacks.figures_of(AS_IT_IS, network) if cures else []
    rows = []
    for cure in cures:
        repaired = cure.applied_to(network, some_BCHW)
        own = attacks.figures_of(cure.name, repaired)
        # Neither pins nor ranges touch the network at full precision.
        full = _accuracy(repaired if cure.kind == "equalization" else network, attacks.test, 0)
        accuracies = {"full_precision": full} | {row["rung"]: row["accuracy"] for row in own}
        rows.append(_cure_row(replace(cure, accuracies=tuple(accuracies.items())), network))
        figures += own
    return {
        "cures": pd.DataFrame(rows, columns=list(CURE_COLUMNS)),
        "cure_figures": pd.DataFrame(figures, columns=list(FIGURE_COLUMNS)),
    }


def _chosen(network: Network, few: Images, some_BCHW: Tensor, sites: pd.DataFrame, links: pd.DataFrame) -> list[Cure]:
    bits = int(sites["bits"].iloc[0])
    full, failing = _accuracy(network, few, 0), _accuracy(network, few, bits)
    # What was rescaled can be undone, whether it does harm here or not.
    is_scaled = bool((links["exponent"] >= LEAST_EXPONENT).any())
    if full - failing <= FAILS and not is_scaled:
        return []
    ranking = sites.sort_values("given_back", ascending=False, kind="stable")["site"].tolist()
    cures = _of_file(network, some_BCHW) if isinstance(network, OnnxNetwork) else standard_cures(network.range_scope)
    for width in (0, INT8)[: 1 + (bits < INT8)] if full - failing > FAILS else ():
        found = smallest_sites(
            network,
            some_BCHW,
            ranking,
            lambda repaired: _accuracy(repaired, few, bits),
            target=full - FAILS,
            bit_width=width,
            most=MOST_SITES,
        )
        cures += [found] if found else []
    return cures


def _of_file(network: OnnxNetwork, some_BCHW: Tensor) -> list[Cure]:
    """Returns what can be done without a search to a file, whose quantizer stays as it is."""
    found = equalize_onnx(network, some_BCHW)
    return [Cure(kind="equalization")] if found.num_channels and found.is_exact else []


class _Attacks:
    """Allocations at one number of bits per site, benign to hostile, of any network in the place of the subject's."""

    def __init__(self, subject: Subject, bits: int, num_images: int, seed: int) -> None:
        self._bits, self._seed, self._max_passes = bits, seed, max(LEAST_PASSES, num_images // 4)
        self._most, self._some = (
            replace(subject, test=subject.test.spread(count)) for count in (TEST_IMAGES * num_images, num_images)
        )
        self.test = self._most.test
        chosen_on = subject.selection.first(num_images)
        # Read once: the searches go through them many times.
        self._batches = [(images_BCHW, chosen_on.labels_B[place]) for place, images_BCHW in chosen_on.batches()]

    def figures_of(self, name: str, network: Network) -> list[dict[str, Any]]:
        """Returns a row of `FIGURE_COLUMNS` per rung; drops are those from the subject's network at full precision."""
        free = network.num_sites - len(network.pinned)
        rungs: list[tuple[str, Subject, Callable[[Network, Images], Tensor]]] = [
            ("uniform", self._most, self._uniform),
            ("worst_static", self._most, self._worst_static if free else self._uniform),
            ("worst_per_image", self._some, self._worst_per_image if free else self._uniform),
        ]
        rows: list[dict[str, Any]] = []
        for rung, subject, predict in rungs:
            found = figures_of(subject.reference, predict(network, subject.test).numpy())
            shared = {"name": name, "rung": rung, "budget": self._bits * free, "num_images": len(subject.test)}
            own = {name: getattr(found, name) for name in ("accuracy", "drop", "drop_low", "drop_high")}
            rows.append({**shared, **own})
        return rows

    def _uniform(self, network: Network, test: Images) -> Tensor:
        return logits(network, test, _everywhere(network, test, self._bits)).argmax(dim=-1)

    def _worst_static(self, network: Network, test: Images) -> Tensor:
        free, space = _free(network), self._space(network)
        # Without gradients the search goes by what it tried.
        scorer = GradientScores(free, space.bit_widths) if isinstance(free, DifferentiableFreeSites) else None
        found = worst_static(free, self._batches, space, scorer, max_passes=self._max_passes, seed=self._seed)
        with torch.inference_mode():
            each = [free(images_BCHW, found.rows(len(images_BCHW))).cpu() for _, images_BCHW in test.batches()]
        return torch.cat(each).argmax(dim=-1)

    def _worst_per_image(self, network: Network, test: Images) -> Tensor:
        each = [
            worst_per_image(
                *(_free(network), images_BCHW, test.labels_B[place], self._space(network)),
                max_passes=self._max_passes,
                seed=self._seed + place.start,
            )
            for place, images_BCHW in test.batches()
        ]
        return torch.cat([one.predictions_B for one in each])

    def _space(self, network: Network) -> Space:
        free = network.num_sites - len(network.pinned)
        return Space(num_sites=free, bit_widths=OPTION_SETS["I"], budget=self._bits * free)


def _free(network: Network) -> FreeSites:
    if isinstance(network, OnnxNetwork):
        return FreeSites(network, network.pinned)
    return DifferentiableFreeSites(network, network.pinned)


def _everywhere(network: Network, images: Images, bits: int) -> Tensor | None:
    return torch.full((len(images), network.num_sites), bits, dtype=torch.int64) if bits else None


def _accuracy(network: Network, images: Images, bits: int) -> float:
    """Returns the accuracy with the same bits at every site; 0 is full precision."""
    predictions_B = logits(network, images, _everywhere(network, images, bits)).argmax(dim=-1)
    return (predictions_B == images.labels_B).double().mean().item()


def _cure_row(cure: Cure, network: Network) -> dict[str, object]:
    files = {"ours": our_yaml(cure, network.sites)}
    if cure.kind == "sites" and not cure.bit_width:
        spared = [network.sites[site] for site in cure.sites]
        files |= _files(network, spared)
    return {"name": cure.name, "kind": cure.kind, **dict(cure.accuracies), **files}


def _files(network: Network, spared: Sequence[Site]) -> dict[str, str]:
    if isinstance(network, OnnxNetwork):
        return {"onnxruntime": as_json(network.readers(spared))}
    return {
        "onnxruntime": onnxruntime_exclusions(network.model, spared),
        "torchao": torchao_exclusions(network.model, spared),
        "modelopt": modelopt_rules(network.model, spared),
    }
