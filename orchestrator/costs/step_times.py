"""How long training takes per image: as the user says, as trials of the storage measured it, or from a table.

Nothing here is a guess. A training is known by its stage, its networks, the size of its images and the kind of device;
what was measured with other batches or other datasets is scaled by the number of images.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from pydantic import Field

from orchestrator.plan import Node
from orchestrator.store.folder import ENVIRONMENT, RESULT
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, parent_stage
from orchestrator.store.usage import GPU_SECONDS
from search_spaces.datasets import DatasetSpec, ImageSize
from search_spaces.errors import ConfigError, unknown_name
from search_spaces.files.yaml_files import read_documents
from search_spaces.model import Frozen, Positive, parse
from search_spaces.models import ModelSpec
from search_spaces.recipes import WHOLE_PAIR, TrainingRecipe
from search_spaces.stages.registry import STAGES, Stage

STEP_TIMES = Path(__file__).with_name("step_times.yaml")
MAX_TRIALS = 20
"""Trials of one training on one device that are read; more of them only take longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What an image's time depends on, besides the device."""

    stage: Stage
    architecture: str
    teacher: str | None
    """The architecture of its parent."""
    image_size: int | str
    """As a dataset's is written."""

    @property
    def title(self) -> str:
        """For errors and tables.

        Examples:
            >>> Training(stage=Stage.DISTILL, architecture="resnet18", teacher="resnet50", image_size=224).title
            'distill/resnet18 from resnet50 at 224 px'
        """
        teacher = f" from {self.teacher}" if self.teacher and self.teacher != self.architecture else ""
        return f"{self.stage}/{self.architecture}{teacher} at {self.image_size} px"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What one trial, or one line of the table, took."""

    training: Training
    device: str
    """As the driver calls it, or `cpu` with its instructions."""
    image_seconds: float
    """Of an image in training, evaluation included."""
    gpu_share: float | None
    """None where it is not known."""
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTime:
    """What is known of a step on a kind of device."""

    seconds: float
    gpu_share: float | None
    source: str
    device: str | None
    """On which it was measured; None where it is unknown."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Everything that is known."""

    measured: Sequence[Measurement]
    """Those that come first win over later ones of another source."""
    by_hand: Mapping[str, float] = field(default_factory=dict)
    """Seconds of a step by `stage` or `stage/architecture`; they win over all that was measured."""

    def find(self, training: Training, batch_size: int, kind: str) -> StepTime | None:
        """Returns the time of a step on a kind of device, None if it is unknown."""
        for name in (f"{training.stage}/{training.architecture}", str(training.stage)):
            if name in self.by_hand:
                return StepTime(seconds=self.by_hand[name], gpu_share=None, source="--step-seconds", device=None)
        fitting = [each for each in self.measured if each.training == training and is_kind(each.device, kind)]
        fitting = [each for each in fitting if each.source == fitting[0].source]
        if not fitting:
            return None
        shares = [each.gpu_share for each in fitting if each.gpu_share is not None]
        return StepTime(
            seconds=median(each.image_seconds for each in fitting) * batch_size,
            gpu_share=median(shares) if shares else None,
            source=fitting[0].source,
            device=fitting[0].device,
        )


def is_kind(device: str, kind: str) -> bool:
    """Tells whether a device is of a kind, every word of which is then a word of the device's name.

    Examples:
        >>> is_kind("NVIDIA A100-SXM4-80GB", "A100 80GB"), is_kind("NVIDIA A10G", "A10"), is_kind("cpu AVX512", "cpu")
        (True, False, True)
    """
    words = {word.lower() for word in device.replace("-", " ").split()}
    return {word.lower() for word in kind.split()} <= words


def recipe_of(node: Node) -> TrainingRecipe:
    """Returns the recipe of a node that trains: time is told for those only."""
    assert isinstance(node.recipe, TrainingRecipe)
    return node.recipe


def training_of(node: Node, nodes: Mapping[str, Node]) -> Training:
    """Returns what a node's time per image depends on, given all nodes by uid."""
    recipe, parents = node.recipe, [nodes[uid].recipe.architecture for uid in node.parents]
    if recipe.given:
        # A pair is a copy of its white box.
        parents = [recipe.architecture if node.stage is Stage.PAIR else recipe.given.name]
    return Training(
        stage=node.stage,
        architecture=recipe.architecture,
        teacher=parents[0] if parents else None,
        image_size=node.dataset.image_size,
    )


def steps_per_epoch(recipe: TrainingRecipe, dataset: DatasetSpec) -> int | None:
    """Returns the steps of an epoch, whose last, smaller batch is dropped; None where only the files tell.

    Examples:
        >>> from search_spaces.paper import TEACHER_RECIPE
        >>> steps_per_epoch(TEACHER_RECIPE, DatasetSpec(name="oxford-iiit-pet", image_size=224))  # 3,312 images
        25
    """
    return None if dataset.num_trained is None else dataset.num_trained // recipe.batch_size


def measured_in(store: Store, wanted: Iterable[Training]) -> Iterator[Measurement]:
    """Yields what finished trials on a storage took, of whatever sweep they are."""
    trainings = set(wanted)
    counts: Counter[tuple[Training, str]] = Counter()
    for stage in (stage for stage, traits in STAGES.items() if traits.is_training):
        for uid in store.root.folder(stage).names():
            trial = TrialFolder(store, stage, uid)
            training = _training_in(store, trial) if trial.folder.exists(RESULT) else None
            device = str((trial.folder.read_json(ENVIRONMENT) or {}).get("device", "")) if training in trainings else ""
            if training is None or not device or counts[training, device] >= MAX_TRIALS:
                continue
            if measurement := _measurement(trial, training, device):
                counts[training, device] += 1
                yield measurement


def measured_by_others(path: Path = STEP_TIMES) -> list[Measurement]:
    """Returns the lines of the table.

    Raises:
        ConfigError: A line breaks a rule.
    """
    (content,) = read_documents(path, what="table of step times")
    return [
        Measurement(
            training=Training(**line.model_dump(include={"stage", "architecture", "teacher", "image_size"})),
            device=line.device,
            image_seconds=line.step_seconds / line.batch_size,
            gpu_share=line.gpu_share,
            source=path.name,
        )
        for line in parse(_Table, content, place=f"{path}: ").step_times
    ]


def parse_step_seconds(texts: Sequence[str]) -> dict[str, float]:
    """Reads what the user says of steps.

    Raises:
        ConfigError: It is not of the form of the example, or a time is not above 0.

    Examples:
        >>> parse_step_seconds(["pair=0.02,distill=0.05", "pair/resnet18=0.01"])
        {'pair': 0.02, 'distill': 0.05, 'pair/resnet18': 0.01}
    """
    by_hand = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, _, value = part.partition("=")
        stage = name.partition("/")[0]
        if stage not in list(Stage):
            raise unknown_name("stage", stage, map(str, Stage), place="--step-seconds ")
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise ConfigError(f"--step-seconds {part!r}: the seconds of a step are a number above 0, as in pair=0.02.")
        by_hand[name] = seconds
    return by_hand


class _Line(Frozen):
    """A line of the table as it is written."""

    stage: Stage
    architecture: str
    teacher: str | None = None
    image_size: ImageSize
    batch_size: int = Field(ge=1)
    device: str
    gpu_share: float | None = Field(default=None, gt=0, le=1)
    step_seconds: Positive
    source: str
    """Who measured it, on what and how."""


class _Table(Frozen):
    """The table as it is written."""

    step_times: tuple[_Line, ...]


def _training_in(store: Store, trial: TrialFolder) -> Training | None:
    """Returns what a stored trial trained; None for a part of a pair, or if a recipe that tells it is gone."""
    record = trial.recipe()
    # A policy alone takes two thirds of the time of a pair.
    if record is None or len(record.recipe.get("train", WHOLE_PAIR)) < len(WHOLE_PAIR):
        return None
    architecture, teacher = record.architecture, None
    if trial.stage == Stage.PAIR:
        teacher = architecture  # a pair is a copy of its white box
    elif given := record.recipe.get("black_box"):
        teacher = parse(ModelSpec, given).name
    elif record.parents:
        parent = TrialFolder(store, parent_stage(trial.stage), record.parents[0]).recipe()
        if parent is None:
            return None
        teacher = parent.architecture
    return Training(
        stage=Stage(trial.stage), architecture=architecture, teacher=teacher, image_size=record.dataset["image_size"]
    )


def _measurement(trial: TrialFolder, training: Training, device: str) -> Measurement | None:
    """Returns what a stored trial took, with the official number of images: a sample on disk would be taken for all."""
    rows, record = trial.epochs(), trial.recipe()
    assert record is not None, f"{trial.folder.root} lost its recipe while it was read"
    dataset = parse(DatasetSpec, record.dataset)
    if not rows or dataset.num_trained is None:
        return None
    batch_size = int(record.recipe["batch_size"])
    # The median, because a worker's first epoch compiles kernels and takes several times as long.
    seconds = median(row["seconds"] for row in rows)
    shares = [row[GPU_SECONDS] / row["seconds"] for row in rows if row.get(GPU_SECONDS)]
    return Measurement(
        training=training,
        device=device,
        image_seconds=seconds / (dataset.num_trained // batch_size * batch_size),
        gpu_share=median(shares) if shares else None,
        source="measured",
    )
