"""What a sweep is called that the user gives no name."""

import os
import re
import zlib
from pathlib import Path

from search_spaces.datasets import dataset_slug
from search_spaces.grids.build import Choices
from search_spaces.models import model_slug
from search_spaces.names import GRIDS
from search_spaces.pixels import channels_text, parse_mean, parse_std


def default_name(grid: str, choices: Choices) -> str:
    """Names a sweep after its grid and what was changed of it.

    Examples:
        >>> default_name("quick", Choices(seeds=(1,), budgets=(82,)))
        'quick-82b-seed1'
        >>> default_name("quick", Choices(epochs_scale=0.5, overrides=("pair.margin=0.05",)))
        'quick-epochs0.5-pair.margin-0.05'
        >>> default_name("quick", Choices(dataset="folder:/data/my flowers", image_size=64, train_images=500))
        'quick-folder-my-flowers-64px-500train'
        >>> default_name("quick", Choices(image_size="48x192", std="0.5,0.5,0.5", interpolation="bicubic", crop=0.9))
        'quick-48x192px-std0.5-0.5-0.5-bicubic-crop0.9'
        >>> default_name("quick", Choices(white_boxes=("timm:test_resnet@mine.pt",)))
        'quick-timm-test_resnet'
    """
    parts = [grid, dataset_slug(choices.dataset) if choices.dataset else None]
    parts += [f"{choices.image_size}px"] if choices.image_size is not None else []
    parts += [f"mean{channels_text(parse_mean(choices.mean))}".replace(",", "-")] if choices.mean else []
    parts += [f"std{channels_text(parse_std(choices.std))}".replace(",", "-")] if choices.std else []
    parts += [choices.interpolation, choices.crop_mode]
    parts += [f"crop{choices.crop:g}"] if choices.crop is not None else []
    counts = {"train": choices.train_images, "test": choices.test_images}
    parts += [f"{count}{part}" for part, count in counts.items() if count is not None]
    parts += ["no-duplicates"] if choices.drop_duplicates else []
    parts += [f"teacher-{model_slug(choices.teacher)}"] if choices.teacher else []
    parts += [model_slug(uri) for uri in choices.white_boxes]
    parts += [*choices.architectures, *choices.option_sets, *(f"{budget}b" for budget in choices.budgets)]
    parts += choices.goals
    parts += [f"weights-{_weights_slug(choices.teacher_weights)}"] if choices.teacher_weights else []
    parts += [f"epochs{choices.epochs_scale:g}"] if choices.epochs_scale is not None else []
    parts += [f"{name.replace('_', '-')}-{value}" for name, value in choices.search.items()]
    parts += [re.sub(r"[^\w.]+", "-", override).strip("-") for override in choices.overrides]
    parts += [f"seed{'-'.join(map(str, choices.seeds))}"] if any(choices.seeds) else []
    return "-".join(part for part in parts if part)


def extension_note(grid: str, own_name: str, name: str) -> str:
    """Says that options extended the name that a grid file gives; nothing for named grids.

    Examples:
        >>> extension_note("my.yaml", "my-pets", "my-pets-seed1")
        'called my-pets-seed1: my-pets of my.yaml, and what the options change; --name gives another name'
        >>> extension_note("my.yaml", "my-pets", "my-pets"), extension_note("quick", "quick", "quick-seed1")
        ('', '')
    """
    if name == own_name or grid in GRIDS:
        return ""
    return f"called {name}: {own_name} of {grid}, and what the options change; --name gives another name"


def _weights_slug(weights: str) -> str:
    """Names weights so that two files have two names, also where they are called the same in two folders."""
    path = Path(weights)
    if weights in ("imagenet", "scratch"):
        return weights
    name = re.sub(r"[^\w.]+", "-", path.stem)
    return f"{name}-{zlib.crc32(os.fsencode(path.absolute())):08x}"
