"""One trial from plain values to its stage: the door through which Ray, a notebook or a benchmark comes in."""

import gc
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import StorageError
from search_spaces.model import parse
from search_spaces.models import ModelSpec
from search_spaces.recipes import PairRecipe
from search_spaces.stages.assessment import AssessRecipe
from trainables.analyses.trained_pair import Subject
from trainables.checkpoints import ResumePoint, from_bytes, strip_prefix, to_bytes
from trainables.data.images import TEST, VALIDATION, ImageData
from trainables.data.loading import load_dataset
from trainables.memory_format import place
from trainables.models.backbones import load_backbone
from trainables.models.given import GivenNetwork
from trainables.models.registry import open_network
from trainables.models.trial_models import ReadTrial
from trainables.stages.classifier import MODEL
from trainables.stages.pair import POLICY, STUDENT, Pair
from trainables.stages.registry import STAGES, parse_recipe, start_stage
from trainables.training_loop import StageResult, StageRun


@dataclass(frozen=True, kw_only=True, slots=True)
class ParentCheckpoint:
    """The trained network that a stage starts from."""

    architecture: str
    content: bytes
    """Tensors `model.*` as safetensors."""
    source: str
    """Origin of the checkpoint, for errors."""
    data_sha256: str
    """Checksum of the data it was trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSpec:
    """What a trial computes."""

    stage: str
    recipe: dict[str, Any]
    dataset: dict[str, Any]
    seed: int
    data_dir: Path | None = None


class Trial:
    """A trial on this process's device."""

    def __init__(self, spec: TrialSpec, *, use_gpu: bool, num_threads: int = 1) -> None:
        """Loads the data and pins the process to its share of the machine.

        Args:
            spec: What to compute.
            use_gpu: Train on the first visible GPU.
            num_threads: Of torch on the CPU. Ray packs one trial per core, so more than one makes trials fight, but for
                one that runs alone. Sums of other parts round differently.

        Raises:
            ConfigError: The recipe or the dataset breaks a rule.
            UnavailableError: The data is not on this machine.
        """
        torch.set_num_threads(num_threads)
        self.num_threads = num_threads
        self.spec = spec
        self.recipe = parse_recipe(spec.stage, spec.recipe)
        self.device = torch.device("cuda" if use_gpu else "cpu")
        if use_gpu:
            # A worker runs many trials, and what torch kept of the last one would add to this one's share of the GPU.
            gc.collect()
            torch.cuda.empty_cache()
        self.dataset = parse(DatasetSpec, spec.dataset)
        self.data, self.data_sha256 = _load(self.dataset, spec.data_dir, self.device)

    @property
    def device_name(self) -> str:
        """The GPU, or `cpu` with the instructions that torch's kernels use: others round differently."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"cpu {torch.backends.cpu.get_cpu_capability()}"

    def start(
        self,
        *,
        parent: ParentCheckpoint | None,
        resume: bytes | None = None,
        resume_source: str = "the resume state",
        typed_models: Collection[str] = (),
        read_trial: ReadTrial | None = None,
    ) -> StageRun:
        """Returns the running stage.

        Args:
            parent: The network that the stage starts from; None for a stage without one, and where it is given.
            resume: A state that `EpochReport.snapshot` gave, serialized; None starts from the beginning.
            resume_source: Where that state comes from, for errors.
            typed_models: URIs of networks that the user typed in this command; code runs for those only.
            read_trial: Reads the network that a trial trained, by its uid.

        Raises:
            StorageError: A checkpoint is damaged, or the parent was trained on other data.
            ConfigError: A network that is given cannot be opened, or its weights are others than planned.
        """
        point = ResumePoint.from_bytes(resume, source=resume_source) if resume else None
        network: torch.nn.Module | GivenNetwork | None = None
        if isinstance(self.recipe, AssessRecipe):
            network = self.open(self.recipe.model, typed_models, read_trial)
        elif STAGES[self.spec.stage].parent:
            network = self._start_network(parent, typed_models, read_trial)
        return start_stage(
            self.spec.stage,
            self.recipe,
            self.data,
            parent=network,
            seed=self.spec.seed,
            device=self.device,
            resume=point,
            student=None if resume else self._start_student(read_trial),
        )

    def subject(
        self,
        *,
        parent: ParentCheckpoint | None,
        checkpoint: bytes,
        source: str,
        typed_models: Collection[str] = (),
        read_trial: ReadTrial | None = None,
    ) -> Subject:
        """Returns a trained pair with its white box, ready to be measured.

        Args:
            parent: The white box; None where it is given.
            checkpoint: safetensors with the tensors `student.*` and `policy.*`.
            source: Where the checkpoint comes from, for errors.
            typed_models: As of `start`.
            read_trial: As of `start`.

        Raises:
            StorageError: A checkpoint is damaged, or was trained on other data.
            ConfigError: A white box that is given cannot be opened, or its weights are others than planned.
        """
        assert isinstance(self.recipe, PairRecipe)
        white_box = self._start_network(parent, typed_models, read_trial)
        trained = Pair(white_box, self.recipe)
        tensors = from_bytes(checkpoint, source=source)
        trained.student.model.load_state_dict(strip_prefix(STUDENT, tensors))
        trained.policy.load_state_dict(strip_prefix(POLICY, tensors))
        place(trained, self.device)
        return Subject(trained, white_box, self.data)

    def _start_network(
        self, parent: ParentCheckpoint | None, typed_models: Collection[str], read_trial: ReadTrial | None
    ) -> torch.nn.Module:
        """Returns the network that a training starts from: the one that is given, or its parent's."""
        if self.recipe.given:
            return place(self.open(self.recipe.given, typed_models, read_trial).module, self.device)
        if parent is None:
            raise StorageError(f"stage {self.spec.stage} starts from a parent's checkpoint, and none was given.")
        return self._load_parent(parent)

    def _start_student(self, read_trial: ReadTrial | None) -> Mapping[str, torch.Tensor] | None:
        """Returns the tensors of the student that a pair's student starts from; None where that is the white box."""
        if not (isinstance(self.recipe, PairRecipe) and self.recipe.start_from):
            return None
        assert self.recipe.start_uid, "a trial is begun after its search has named where the student starts"
        assert read_trial is not None, "whoever starts from a trial reads it"
        return read_trial(self.recipe.start_uid).tensors

    def open(self, model: ModelSpec, typed_models: Collection[str], read_trial: ReadTrial | None) -> GivenNetwork:
        """Opens a network that is given for the images of the data; one to train from must have its classes.

        Args:
            model: The network.
            typed_models: As of `start`.
            read_trial: As of `start`.

        Raises:
            ConfigError: It cannot be opened, or its weights are others than planned.
        """
        return open_network(
            model,
            image_size=self.data.view.size,
            num_classes=None if isinstance(self.recipe, AssessRecipe) else self.data.num_classes,
            is_typed=model.uri in typed_models,
            read_trial=read_trial,
        )

    def _load_parent(self, parent: ParentCheckpoint) -> torch.nn.Module:
        if parent.data_sha256 != self.data_sha256:
            raise StorageError(
                f"{parent.source} was trained on other data ({parent.data_sha256[:12]}) than this machine has "
                f"({self.data_sha256[:12]}): restore the files of {self.spec.dataset['name']}, or use a new storage."
            )
        tensors = strip_prefix(MODEL, from_bytes(parent.content, source=parent.source))
        network = load_backbone(parent.architecture, self.data.num_classes, tensors, image_size=self.data.view.size)
        return place(network, self.device)


def has_gpu() -> bool:
    """Tells whether this process sees a GPU."""
    return torch.cuda.is_available()


def checkpoint_bytes(result: StageResult) -> bytes:
    """Serializes the trained tensors of a stage."""
    return to_bytes(result.checkpoint)


def predictions_table(result: StageResult) -> pa.Table:
    """Turns the predictions of a stage into a table; bit-widths become one list per image."""
    columns = {
        name: pa.array(values.numpy() if values.ndim == 1 else list(values.numpy()))
        for name, values in result.predictions.items()
    }
    if "split" in columns:
        names, numbers = pa.array([VALIDATION, TEST]), pa.array(result.predictions["split"].numpy(), pa.int8())
        columns["split"] = pa.DictionaryArray.from_arrays(numbers, names)
    return pa.table(columns)


# A worker process runs many trials of one sweep; loading the data once saves seconds of each.
@lru_cache(maxsize=1)
def _load(spec: DatasetSpec, data_dir: Path | None, device: torch.device) -> tuple[ImageData, str]:
    data = load_dataset(spec, data_dir)
    return data.to(device), data.sha256()
