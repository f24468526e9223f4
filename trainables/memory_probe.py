"""How much memory a training takes, measured: the stage itself, on random networks and images, for two steps.

No checkpoint and no data are needed. The steps and the evaluation are those of `trainables.stages`, so whatever changes
in them changes what is measured.
"""

import gc
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from search_spaces.model import vary
from search_spaces.pixels import height_width
from search_spaces.recipes import TeacherRecipe, TrainingRecipe
from trainables.data.images import TEST, TRAIN, VALIDATION, ImageData, Split
from trainables.data.view import View
from trainables.evaluation import EVALUATION_BATCH
from trainables.memory_format import place
from trainables.models.backbones import create_backbone
from trainables.stages.registry import STAGES, parse_recipe, start_stage

NUM_STEPS = 2
"""Training steps to measure: optimizers allocate their state in the first, so the second one is the peak."""
# Random images teach nothing; a tiny rate keeps two steps from diverging and takes the same memory as any other.
LEARNING_RATE = 1e-6


class MemoryReader(Protocol):
    """Tells how much of a device's memory this process takes."""

    def reset(self) -> None:
        """Forgets the peak, and gives back what earlier work left."""

    def peak_bytes(self) -> int:
        """Returns the peak since the reset."""

    def total_bytes(self) -> int:
        """Returns the memory of the device."""


class CudaMemory:
    """Reads the first visible GPU, which no other process may use meanwhile: its memory would count, too."""

    def reset(self) -> None:
        """Forgets the peak, and gives back what earlier work left."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        """Returns the peak that torch's allocator reserved, plus what the driver and its libraries hold besides."""
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        context_bytes = total_bytes - free_bytes - torch.cuda.memory_reserved()
        return torch.cuda.max_memory_reserved() + context_bytes

    def total_bytes(self) -> int:
        """Returns the memory of the GPU."""
        return torch.cuda.mem_get_info()[1]


def identify_gpu() -> dict[str, str]:
    """Returns what a measurement holds for besides its workload: the name of the GPU and the version of torch."""
    return {"device": torch.cuda.get_device_name(), "torch": torch.__version__}


def measure_on_gpu(workload: Mapping[str, Any]) -> dict[str, Any]:
    """Measures a workload on the first visible GPU; see `measure`."""
    return measure(workload, device=torch.device("cuda"), memory=CudaMemory())


def measure(
    workload: Mapping[str, Any], *, device: torch.device, memory: MemoryReader, num_classes: int = 37
) -> dict[str, Any]:
    """Runs two training steps and an evaluation batch of every pass of a stage, and reads the peak.

    Args:
        workload: `stage`; `recipe`, its plain values; `parent`, the architecture of the frozen teacher (None for stage
            1); `image_size` and `stored_size`, written as a dataset's size; `dataset_bytes`, which a trial keeps on the
            device throughout.
        device: Where to run.
        memory: Reads that device.
        num_classes: Size of the classifiers, which hardly matters.

    Returns:
        `peak_bytes`, `total_bytes`, and `fits`: whether it ran to its end within the device's memory.
    """
    memory.reset()
    try:
        _run_one_epoch(workload, device, num_classes)
        fits = True
    except torch.OutOfMemoryError:
        fits = False
    return {"peak_bytes": memory.peak_bytes(), "total_bytes": memory.total_bytes(), "fits": fits}


def _run_one_epoch(workload: Mapping[str, Any], device: torch.device, num_classes: int) -> None:
    stage, parent = workload["stage"], None
    recipe = parse_recipe(stage, workload["recipe"])
    assert isinstance(recipe, TrainingRecipe), f"stage {stage} trains nothing, and its memory is not measured"
    recipe = vary(recipe, epochs=1, learning_rate=LEARNING_RATE, final_learning_rate=0.0)
    if isinstance(recipe, TeacherRecipe):
        recipe = vary(recipe, weights="scratch")
    sizes = {TRAIN: NUM_STEPS * recipe.batch_size, VALIDATION: EVALUATION_BATCH, TEST: EVALUATION_BATCH}
    stored_size = height_width(workload["stored_size"])
    data = ImageData(
        splits={name: _random_split(size, stored_size, num_classes) for name, size in sizes.items()},
        class_names=tuple(str(number) for number in range(num_classes)),
        view=View(*height_width(workload["image_size"])),
    ).to(device)
    num_loaded = sum(split.images_BCHW.numel() for split in data.splits.values())
    # The images that a trial keeps on the device beside those that are used here.
    rest_of_dataset = torch.empty(max(0, workload["dataset_bytes"] - num_loaded), dtype=torch.uint8, device=device)
    if STAGES[stage].parent:
        parent = create_backbone(workload["parent"], num_classes, image_size=data.view.size)
        parent = place(parent.eval().requires_grad_(False), device)
    run = start_stage(stage, recipe, data, parent=parent, seed=0, device=device)
    report = next(run)
    report.snapshot()
    run.close()
    del rest_of_dataset


def _random_split(num_images: int, stored_size: tuple[int, int], num_classes: int) -> Split:
    return Split(
        images_BCHW=torch.randint(256, (num_images, 3, *stored_size), dtype=torch.uint8),
        labels_B=torch.randint(num_classes, (num_images,)),
        image_ids_B=torch.arange(num_images),
    )
