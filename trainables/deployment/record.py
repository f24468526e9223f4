"""What `verify` found, as a value and as JSON, and the verdict by measured drops."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from trainables.assessment.paired import drop_interval
from trainables.assessment.verdict import LARGEST_DROPS
from trainables.runtimes.processor import Processor

# B = images, K = classes.

Verdict = Literal["neither", "format", "runtime"]
"""What breaks a network: its quantization as such, this runtime alone, or neither."""
LARGEST_DROP = LARGEST_DROPS["int8"]
"""Drop from which on a run fails, if the whole of its paired interval is beyond it."""
SIMULATION, EXPORTED, INT8 = "simulation", "exported file in ONNX Runtime", "int8 of ONNX Runtime"
TORCHAO = "dynamic int8 of torchao"
"""Names of the runs."""
SHOWN_DISAGREEMENTS = 20
"""Most images of a run that are listed one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """An image that a run classifies otherwise than the simulation."""

    image: int
    """Position among the images, from 0."""
    simulated: int
    """Class in the simulation."""
    runtime: int
    margin: float
    """In the simulation: its logit minus that of the runtime's class. Rounding can turn a small one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One way to run the network quantized, image by image."""

    name: str
    accuracy: float
    drop: float
    """Accuracy at full precision minus that of the run."""
    drop_low: float
    """Lower end of its paired 95 % interval."""
    drop_high: float
    disagreements: int
    """Images whose class is another one than in the simulation."""
    largest_difference: float
    """Of the logits from those of the simulation."""
    disagreeing: tuple[Disagreement, ...]
    """The first of these images."""

    @property
    def fails(self) -> bool:
        """Whether its drop is shown to be beyond the bound."""
        return self.drop_low > LARGEST_DROP


@dataclass(frozen=True, kw_only=True, slots=True)
class Reverted:
    """What a quantized node does: the int8 run with this node alone at full precision."""

    node: str
    """Its name in the runtime."""
    layer: str
    """The layer of the module that it comes from; empty where a file says nothing of it."""
    accuracy: float
    largest_difference: float
    """Of the logits from those at full precision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Culprits:
    """The nodes that break a network in ONNX Runtime's int8."""

    nodes: tuple[str, ...]
    """As many as it takes: with these at full precision it no longer fails."""
    accuracy: float
    """With these nodes at full precision, on all images."""
    reverted: tuple[Reverted, ...]
    """Every node by itself, the one that gives most back first."""
    num_images: int
    """Images that nodes were reverted on one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A network in simulation and in a runtime."""

    num_images: int
    accuracy_fp: float
    simulated: Run
    exported: Run
    """The exported file in ONNX Runtime, at the bits of the simulation."""
    int8: Run
    """ONNX Runtime's own dynamic int8, one image per run."""
    culprits: Culprits | None
    """Where only the runtime fails."""
    processor: Processor
    torchao: Run | None = None
    """torchao's dynamic int8, where it is installed and the network has Linear layers; has no part in the verdict."""
    torchao_note: str = ""
    """Which layers those are; empty where torchao is not installed."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """All ways in which the network ran quantized."""
        return (self.simulated, self.exported, self.int8, *([self.torchao] if self.torchao else []))

    @property
    def verdict(self) -> Verdict:
        """What breaks the network."""
        return verdict_of(self.simulated.fails, self.worse_run.fails)

    @property
    def worse_run(self) -> Run:
        """Of the two runs in ONNX Runtime the one that loses more."""
        return max(self.exported, self.int8, key=lambda run: run.drop)

    def as_json(self) -> dict[str, Any]:
        """Returns what `verify --json` writes."""
        nodes = list(self.culprits.nodes) if self.culprits else []
        return {
            "num_images": self.num_images,
            "accuracy_fp": self.accuracy_fp,
            "accuracy_simulated": self.simulated.accuracy,
            "accuracy_runtime": self.worse_run.accuracy,
            "disagreements": self.exported.disagreements,
            "verdict": self.verdict,
            "nodes": nodes,
            "reason": self.reason,
            "largest_difference": self.exported.largest_difference,
            "runs": [asdict(run) | {"fails": run.fails} for run in self.runs],
            "torchao": self.torchao_note or None,
            "culprits": asdict(self.culprits) if self.culprits else None,
            "processor": asdict(self.processor) | {"has_vnni": self.processor.has_vnni},
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Verification":
        """Reads what `as_json` returned.

        Raises:
            ValueError: It is something else.
        """
        try:
            runs = {run["name"]: run for run in content["runs"]}
            named = {"simulated": runs[SIMULATION], "exported": runs[EXPORTED], "int8": runs[INT8]}
        except (KeyError, TypeError) as error:
            raise ValueError(f"no verification: {error}") from None
        others = {"torchao": runs.get(TORCHAO), "torchao_note": content.get("torchao") or ""}
        return TypeAdapter(Verification).validate_python({**content, **named, **others})

    @property
    def reason(self) -> str:
        """One sentence on the verdict."""
        bound = f"{100 * LARGEST_DROP:.0f} points"
        simulated, worse = (f"{run.name} drops {_points(run)}" for run in (self.simulated, self.worse_run))
        if self.verdict == "format":
            return f"The format breaks it: the {simulated}, and the {worse}; both are beyond {bound}."
        if self.verdict == "runtime":
            return f"This runtime breaks it: the {worse}, which is beyond {bound}, and the {simulated}."
        if self.simulated.fails:
            return f"Neither: the {simulated}, and the runtime does not confirm it: the {worse}."
        return f"Neither breaks it: the {simulated}, and the {worse}; neither is shown to be beyond {bound}."


def _points(run: Run) -> str:
    return f"{100 * run.drop:.1f} points ({100 * run.drop_low:.1f} to {100 * run.drop_high:.1f})"


def verdict_of(simulation_fails: bool, runtime_fails: bool) -> Verdict:
    """Judges by who fails.

    Examples:
        >>> verdict_of(True, True), verdict_of(False, True), verdict_of(False, False)
        ('format', 'runtime', 'neither')
    """
    if not runtime_fails:
        return "neither"
    return "format" if simulation_fails else "runtime"


def measured_run(
    name: str, logits_BK: np.ndarray, *, labels_B: np.ndarray, full_BK: np.ndarray, simulated_BK: np.ndarray
) -> Run:
    """Counts what a run changed.

    Args:
        name: Of the run, for people.
        logits_BK: Its answers.
        labels_B: What counts as right.
        full_BK: Answers at full precision.
        simulated_BK: Answers of the simulation.
    """
    predictions_B, simulated_B = logits_BK.argmax(1), simulated_BK.argmax(1)
    was_right_B, is_right_B = full_BK.argmax(1) == labels_B, predictions_B == labels_B
    both, lost = int((was_right_B & is_right_B).sum()), int((was_right_B & ~is_right_B).sum())
    gained, neither = int((~was_right_B & is_right_B).sum()), int((~was_right_B & ~is_right_B).sum())
    drop_low, drop_high = drop_interval(both, lost, gained, neither)
    other = np.flatnonzero(predictions_B != simulated_B)
    return Run(
        name=name,
        accuracy=float(is_right_B.mean()),
        drop=(lost - gained) / len(labels_B),
        drop_low=drop_low,
        drop_high=drop_high,
        disagreements=len(other),
        largest_difference=float(np.abs(logits_BK - simulated_BK).max()),
        disagreeing=tuple(
            Disagreement(
                image=int(image),
                simulated=int(simulated_B[image]),
                runtime=int(predictions_B[image]),
                margin=float(simulated_BK[image, simulated_B[image]] - simulated_BK[image, predictions_B[image]]),
            )
            for image in other[:SHOWN_DISAGREEMENTS]
        ),
    )
