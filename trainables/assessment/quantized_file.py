"""The part of an assessment about a file that somebody quantized: what it costs, and which nodes do it.

Nodes are put back to full precision on validation images, one at a time, and those that give most back together until
the drop is small enough there; what is claimed of them is measured on the test images. The file runs one image at a
time, so that no dynamic range is shared, or as many as it demands.

Shape letters: B = images, K = classes.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from search_spaces.stages.quantized_file import QuantizedFile as Settings
from trainables.assessment.figures import Figures, Reference, figures_of
from trainables.assessment.ladder import Measured
from trainables.assessment.parts import Part, Step
from trainables.assessment.subject import Images, Subject, leads_of, logits
from trainables.runtimes.onnx_quantized_file import QuantizedFile
from trainables.runtimes.onnxruntime import OnnxNetwork
from trainables.runtimes.processor import this_processor

RUNG = "file"
FACTS, NODES = "quantized_file", "quantized_nodes"
"""Tables: one row about the file, and a row for every node or group of nodes that was put back alone."""
EXCLUDED = {
    "accuracy_excluded": "accuracy",
    "drop_excluded": "drop",
    "drop_excluded_low": "drop_low",
    "drop_excluded_high": "drop_high",
    "flips_excluded": "flips",
}
"""Columns of the facts, and the figures with the nodes to exclude at full precision that are in them."""
Run = Callable[[Tensor], Tensor]


def measure_quantized_file(
    subject: Subject, settings: Settings, part: Part, *, scanned_images: int, num_done: int = 0
) -> Iterator[Step]:
    """Measures the steps that are left, and adds what they find to `part`: the rung `file` and two tables.

    Args:
        subject: The float file that the quantized one was made from.
        settings: The quantized file and the drop that it may have.
        part: What earlier steps measured.
        scanned_images: Most images of the selection that nodes are chosen on.
        num_done: Number of those steps.

    Yields:
        A report after every step.

    Raises:
        ConfigError: The file cannot be run, does not fit the reference, or is another one than when the plan was made.
    """
    measurement = _Measurement(subject, settings, part, scanned_images)
    for number, name in enumerate(settings.measured[num_done:], start=num_done + 1):
        start = time.perf_counter()
        figures = _STEPS[name](measurement)
        seconds = time.perf_counter() - start
        yield Step(name=name, number=number, num_steps=len(settings.measured), seconds=seconds, figures=figures)


def open_quantized_file(settings: Settings, reference: OnnxNetwork) -> QuantizedFile:
    """Reads the file of a plan.

    Raises:
        UnavailableError: It is not on this machine.
        ConfigError: It does not fit the reference, or is another one than when the plan was made.
    """
    file = QuantizedFile(Path(settings.model.name), reference.file)
    if settings.model.sha256 not in (None, file.sha256):
        raise ConfigError(
            f"model {settings.model.uri} is another file ({file.sha256[:12]}) than when the plan was made "
            f"({str(settings.model.sha256)[:12]}): give back the file of then, or plan again."
        )
    return file


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Blocks that are put back, and what the images make of it."""

    blocks: frozenset[int]
    figures: Figures
    largest_difference: float
    """Of the logits from those at full precision."""


class _Measurement:
    def __init__(self, subject: Subject, settings: Settings, part: Part, scanned_images: int) -> None:
        assert isinstance(subject.network, OnnxNetwork), "a quantized file has an ONNX file as its reference"
        self.subject, self.settings, self.part = subject, settings, part
        self.file = open_quantized_file(settings, subject.network)
        self.graph = self.file.graph
        self.few = subject.selection.first(scanned_images)
        full_BK = logits(subject.network, self.few)
        self.few_full_BK = full_BK
        self.few_reference = _reference(full_BK, self.few, subject)

    def measure_file(self) -> dict[str, float]:
        """Runs the file as it is on the test images."""
        logits_BK = _run(self.file.runner(), self.subject.test)
        self.part.rungs[RUNG] = Measured(
            predictions_DB=logits_BK.argmax(dim=-1)[None],
            leads_DB=leads_of(logits_BK, self.subject.test.labels_B)[None],
        )
        return _shown(self.figures)

    def measure_nodes(self) -> dict[str, float]:
        """Puts nodes back one at a time, and the nodes around every activation together, where the file fails."""
        found = [self._reverted(blocks) for blocks in self._candidates()] if self.is_failing else []
        rows = [
            {
                "nodes": json.dumps(self._names(each.blocks)),
                "blocks": json.dumps(sorted(each.blocks)),
                "accuracy": each.figures.accuracy,
                "largest_difference": each.largest_difference,
            }
            for each in sorted(found, key=lambda each: (-each.figures.accuracy, each.largest_difference))
        ]
        self.part.tables[NODES] = pd.DataFrame(rows, columns=["nodes", "blocks", "accuracy", "largest_difference"])
        return _shown(found[0].figures) if found else {}

    def measure_excluded(self) -> dict[str, float]:
        """Puts back nodes together until the file is good enough, and measures that on the test images."""
        chosen, after = self._choose() if len(self.part.tables[NODES]) else (frozenset(), None)
        processor = this_processor()
        row: dict[str, Any] = {
            "uri": self.settings.model.uri,
            "sha256": self.file.sha256,
            "kind": self.file.kind,
            "images_per_run": self.file.images_per_run,
            "num_layers": len(self.graph.layers),
            "largest_drop": self.settings.largest_drop,
            "is_failing": self.is_failing,
            "nodes": json.dumps(self._names(chosen)),
            "unmatched": json.dumps(self.graph.unmatched),
            "num_unnamed": sum(not block.name for block in self.graph.blocks),
            "num_images_reverted": len(self.few),
            "processor": processor.name,
            "has_vnni": processor.has_vnni,
        }
        for column, name in EXCLUDED.items():
            row[column] = None if after is None else getattr(after, name)
        self.part.tables[FACTS] = pd.DataFrame([row])
        return {} if after is None else _shown(after)

    @property
    def figures(self) -> Figures:
        """Of the file as it is, on the test images."""
        return figures_of(self.subject.reference, self.part.rungs[RUNG].predictions_DB[0].numpy())

    @property
    def is_failing(self) -> bool:
        """Whether the drop is shown to be larger than it may be."""
        return self.figures.drop_low > self.settings.largest_drop

    def _candidates(self) -> list[frozenset[int]]:
        """Returns what is put back at a time: a node with weights, or all nodes that need one activation's codes.

        Only the latter take the quantization of the activation itself away.
        """
        named = {place for place, block in enumerate(self.graph.blocks) if block.name}
        alone = [frozenset({place}) for place in sorted(named) if self.graph.blocks[place].has_weights]
        together = [frozenset(places) for places in self.graph.touching().values() if places and places <= named]
        return list(dict.fromkeys([*alone, *together]))

    def _reverted(self, blocks: frozenset[int]) -> _Found:
        logits_BK = _run(self.file.runner(blocks), self.few)
        return _Found(
            blocks=blocks,
            figures=figures_of(self.few_reference, logits_BK.argmax(dim=-1).numpy()),
            largest_difference=(logits_BK - self.few_full_BK).abs().max().item(),
        )

    def _choose(self) -> tuple[frozenset[int], Figures]:
        """Returns the blocks to leave out, and the figures without them; all that were tried where none suffice."""
        chosen: frozenset[int] = frozenset()
        for text in self.part.tables[NODES]["blocks"]:
            group = frozenset(json.loads(text))
            if group <= chosen:
                continue
            chosen |= group
            if self._is_enough(self._reverted(chosen).figures) and self._is_enough(after := self._on_test(chosen)):
                return self._without_needless(chosen, after)
        return chosen, self._on_test(chosen)

    def _without_needless(self, chosen: frozenset[int], after: Figures) -> tuple[frozenset[int], Figures]:
        """Returns what is left of blocks that suffice without those that are not needed."""
        needed = chosen
        for place in sorted(chosen):
            if len(needed) > 1 and self._is_enough(self._reverted(needed - {place}).figures):
                needed -= {place}
        if needed != chosen and self._is_enough(fewer := self._on_test(needed)):
            return needed, fewer
        return chosen, after

    def _on_test(self, blocks: frozenset[int]) -> Figures:
        logits_BK = _run(self.file.runner(blocks), self.subject.test)
        return figures_of(self.subject.reference, logits_BK.argmax(dim=-1).numpy())

    def _is_enough(self, figures: Figures) -> bool:
        return figures.drop <= self.settings.largest_drop

    def _names(self, blocks: Iterable[int]) -> list[str]:
        return [self.graph.blocks[place].name for place in sorted(blocks)]


def _reference(full_BK: Tensor, images: Images, subject: Subject) -> Reference:
    top_B2 = full_BK.softmax(dim=-1).topk(2, dim=-1).values
    return Reference(
        labels_B=images.labels_B.numpy(),
        predictions_B=full_BK.argmax(dim=-1).numpy(),
        margins_B=(top_B2[:, 0] - top_B2[:, 1]).numpy(),
        num_classes=len(subject.class_names),
    )


def _run(run: Run, images: Images) -> Tensor:
    return torch.cat([run(images_BCHW) for _, images_BCHW in images.batches()])


def _shown(figures: Figures) -> dict[str, float]:
    return {name: float(getattr(figures, name)) for name in ("accuracy", "drop", "flips")}


_STEPS: dict[str, Callable[[_Measurement], dict[str, float]]] = {
    "file": _Measurement.measure_file,
    "nodes": _Measurement.measure_nodes,
    "excluded": _Measurement.measure_excluded,
}
