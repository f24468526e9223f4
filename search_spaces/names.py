"""Names that people type, as closed sets; needs nothing, so that help and completion can list them at once."""

from enum import StrEnum
from typing import Literal, get_args

MAX_SEED = 2**32 - 1
"""Largest seed of anything: what NumPy, PyTorch and tables of 64-bit integers take, and what they derive of it."""
MAX_NAME = 200
"""Largest number of bytes of a name that becomes a folder or the begin of a file's name, of which disks take 255."""
GRIDS = ("quick", "digits", "smoke", "families", "hard", "matrix", "cifar10", "full")
"""Grids that need no file; `search_spaces.grids.named` spells them out."""
Sampler = Literal["tpe", "gp", "random", "cmaes", "nsga2"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
Pruner = Literal["auto", "halving", "hurdle", "none"]
PRUNERS: tuple[Pruner, ...] = get_args(Pruner)
Objective = Literal["drop", "lag"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
"""What the study of a cell maximizes, the default first; see `search_spaces.objective`."""
SearchUntil = Literal["hit", "shown"]
SEARCH_UNTIL: tuple[SearchUntil, ...] = get_args(SearchUntil)
"""What ends the search of a cell, the default first: a hit, or one that the validation images show."""
LearnsFrom = Literal["cell", "network"]
LEARNS_FROM: tuple[LearnsFrom, ...] = get_args(LearnsFrom)
"""Whose trials a sampler's model sees, the default first."""
QUASI_RANDOM = "quasi-random"
"""Where a point comes from that covers the space before a sampler has anything to go by."""
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
"""How images are resized, the default first."""
CropMode = Literal["center", "squash", "pad"]
CROP_MODES: tuple[CropMode, ...] = get_args(CropMode)
"""How an image of another shape fits the size that networks see, the default first."""

SitePlacement = Literal["outputs", "inputs"]
SITE_PLACEMENTS: tuple[SitePlacement, ...] = get_args(SitePlacement)
"""Which activations of layers are quantized, the default first: the paper's, or those that runtimes quantize."""
RangeScope = Literal["example", "batch", "channel"]
RANGE_SCOPES: tuple[RangeScope, ...] = get_args(RangeScope)
"""What shares a range at a site, the default first: an image, all images of a batch, or a channel of an image."""

Selection = Literal["knapsack", "static", "gumbel", "penalty", "reinforce"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)
"""How a pair's bits are chosen, the default first; a module each in `trainables/stages/selections`."""
OptionGradient = Literal["plain", "centred", "bit_width"]
OPTION_GRADIENTS: tuple[OptionGradient, ...] = get_args(OptionGradient)
"""What of the options' gradient a policy gets, the default first; see `trainables.quant.option_gradient`."""

EqualizedBy = Literal["weights", "data"]
"""What tells the ranges of channels to cross-layer equalization."""


class Goal(StrEnum):
    """What a pair is trained for: to survive its policy's quantization, or to break under it."""

    ROBUST = "robust"
    DETRIMENTAL = "detrimental"


HITS_IN_A_ROW = "validation/hits_in_a_row"
"""Metric of an epoch of a pair that stops on a hit: epochs in a row, this one included, that show one."""
