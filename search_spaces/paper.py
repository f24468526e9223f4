"""Every number of Frank & Ardis 2025 (arXiv 2510.02457), each with its place in the paper."""

from typing import Any

from search_spaces.budgets import OPTION_SETS
from search_spaces.recipes import Augmentation, DistillRecipe, PairRecipe, TeacherRecipe

BUDGET_LEVELS = ("A", "B", "C")
AVERAGE_BITS: dict[str, float] = {"A": 4.0, "B": 5.5, "C": 7.0}  # section 4.1, "approximately"
# Section 4, Datasets & Networks; timm's names. ResNet50 is the black box.
DATASET = "oxford-iiit-pet"
TEACHER = "resnet50"
WHITE_BOXES = ("resnet18", "mobilenetv4_conv_medium", "regnetx_016")
# Sites per network: what the budgets of section 4.1 divided by 4, 5.5 and 7 imply, and what
# trainables.quant.sites finds (a test compares them).
NUM_SITES: dict[str, int] = {"resnet18": 20, "mobilenetv4_conv_medium": 77, "regnetx_016": 59}
# Section 4.1: the totals of budgets A, B, C for option set I, and what "versions II and III" add to each.
BUDGETS: dict[str, dict[str, int]] = {
    "resnet18": {"A": 80, "B": 110, "C": 140},
    "mobilenetv4_conv_medium": {"A": 310, "B": 420, "C": 540},
    "regnetx_016": {"A": 230, "B": 320, "C": 410},
}
ADDED_FOR_II_AND_III: dict[str, int] = {"resnet18": 20, "mobilenetv4_conv_medium": 30, "regnetx_016": 80}


def average_bits(option_set: str, level: str) -> float:
    """Returns the bits per site that a level stands for on networks whose totals the paper does not print.

    Sets II and III, whose coarsest options are missing, get one bit more, as on ResNet18 (20 bits over its 20 sites; it
    is 0.4 on MobileNetV4 and 1.4 on RegNetX). Without it level A of set III could not be met by any network.

    Examples:
        >>> average_bits("I", "B"), average_bits("III", "B")
        (5.5, 6.5)
    """
    return AVERAGE_BITS[level] + (1.0 if option_set in ("II", "III") else 0.0)


def total_bits(architecture: str, option_set: str, level: str) -> int:
    """Returns the budget of a cell of Table 1 in bits, as printed, feasible or not.

    Examples:
        >>> total_bits("resnet18", "II", "B"), total_bits("mobilenetv4_conv_medium", "III", "A")
        (130, 340)
    """
    added = 0 if option_set == "I" else ADDED_FOR_II_AND_III[architecture]
    return BUDGETS[architecture][level] + added


# Section 4, Training Details: random crop, RandAugment (n = 2, m = 14), color jitter, flip, crop with padding, mixup
# whose weight comes from U(0, 1). Their strengths are those of trainables.data.augment.
DISTILL_AUGMENTATIONS: tuple[Augmentation, ...] = (
    "random_resized_crop",
    "rand_augment",
    "color_jitter",
    "horizontal_flip",
    "padded_crop",
    "mixup",
)
# Section 4, Training Details, first paragraph, from which every number but the augmentations comes.
TEACHER_RECIPE = TeacherRecipe(
    architecture=TEACHER,
    weights="imagenet",  # timm's
    epochs=20,
    batch_size=128,
    optimizer="adamw",
    learning_rate=4e-4,  # falls to the next along half a cosine
    final_learning_rate=4e-7,
    weight_decay=0.05,
    label_smoothing=0.1,
    # The paper names no augmentation for the teacher; crop and flip are what the cited ConvNeXt settings begin with.
    augmentations=("random_resized_crop", "horizontal_flip"),
)


# Section 4, Training Details, second paragraph, which the third one takes over but for the batch size.
_SGD: dict[str, Any] = {
    "epochs": 1000,
    "optimizer": "sgd",
    "learning_rate": 0.1,  # falls to 0 along half a cosine
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "temperature": 5.0,
    "augmentations": DISTILL_AUGMENTATIONS,
}


def distill_recipe(architecture: str) -> DistillRecipe:
    """Returns stage 2 as printed: MobileNetV4 trains with batches of 64, the others with 256."""
    return DistillRecipe(
        architecture=architecture, batch_size=64 if architecture == "mobilenetv4_conv_medium" else 256, **_SGD
    )


def pair_recipe(architecture: str) -> PairRecipe:
    """Returns stage 3: the settings of stage 2, and the values marked below.

    The bit-widths are those of option set I and the budget is a placeholder: each cell sets its own.

    What the paper leaves open (batch-norm statistics, temperature^2, the scale's gradient) takes the
    defaults of `PairRecipe`; README's table of decisions says why.
    """
    return PairRecipe(
        architecture=architecture,
        bit_widths=OPTION_SETS["I"],
        budget=1,
        batch_size=64,  # "for all models"
        hinge_weight=1.0,  # alpha, section 3.3
        kd_weight=1.0,  # beta, section 3.3
        margin=0.01,  # delta, section 3.2
        weight_bit_width=16,  # section 4, Quantization Settings
        scale_quantile=1.0,  # section 4, Quantization Settings: the extremes; section 4.2 only suggests quantiles
        train=("student", "policy"),  # "jointly"
        **_SGD,
    )


# Table 1, percent: white-box accuracy, then per option set and level (R FP, R delta, D FP, D delta).
TABLE_1_WHITE_BOX: dict[str, float] = {"resnet18": 88.03, "mobilenetv4_conv_medium": 88.01, "regnetx_016": 85.53}
TABLE_1: dict[tuple[str, str, str], tuple[float, float, float, float]] = {
    ("resnet18", "I", "A"): (88.47, -1.69, 86.35, -39.36),
    ("resnet18", "I", "B"): (88.28, -0.46, 87.76, -26.11),
    ("resnet18", "I", "C"): (88.39, -0.33, 86.56, -42.19),
    ("resnet18", "II", "A"): (88.58, -1.01, 86.07, -27.58),
    ("resnet18", "II", "B"): (88.17, -0.22, 88.09, -24.39),
    ("resnet18", "II", "C"): (87.95, -1.25, 86.56, -11.74),
    ("resnet18", "III", "A"): (87.79, 0.22, 86.65, -23.64),
    ("resnet18", "III", "B"): (87.87, 0.08, 85.58, -64.78),
    ("resnet18", "III", "C"): (88.20, -0.03, 19.00, 0.51),
    ("mobilenetv4_conv_medium", "I", "A"): (85.80, -3.41, 81.06, -77.90),
    ("mobilenetv4_conv_medium", "I", "B"): (86.43, -2.37, 82.61, -75.80),
    ("mobilenetv4_conv_medium", "I", "C"): (87.00, -0.71, 75.39, -3.57),
    ("mobilenetv4_conv_medium", "II", "A"): (86.73, -0.41, 77.13, -57.29),
    ("mobilenetv4_conv_medium", "II", "B"): (86.62, -4.89, 80.89, -56.28),
    ("mobilenetv4_conv_medium", "II", "C"): (86.05, -0.14, 84.27, -0.05),
    ("mobilenetv4_conv_medium", "III", "A"): (86.95, -1.72, 84.30, -63.72),
    ("mobilenetv4_conv_medium", "III", "B"): (86.67, -0.41, 82.56, -55.09),
    ("mobilenetv4_conv_medium", "III", "C"): (86.81, 0.05, 85.65, -0.49),
    ("regnetx_016", "I", "A"): (86.62, -2.56, 76.48, -23.74),
    ("regnetx_016", "I", "B"): (86.73, -0.82, 75.39, -34.26),
    ("regnetx_016", "I", "C"): (86.64, -0.59, 80.92, -0.95),
    ("regnetx_016", "II", "A"): (86.62, -0.74, 75.96, -28.29),
    ("regnetx_016", "II", "B"): (87.05, -0.51, 78.77, -33.66),
    ("regnetx_016", "II", "C"): (87.03, -2.67, 84.87, -11.99),
    ("regnetx_016", "III", "A"): (86.94, -0.08, 76.32, -50.97),
    ("regnetx_016", "III", "B"): (86.37, 0.06, 85.64, -25.02),
    ("regnetx_016", "III", "C"): (86.21, 0.03, 86.07, -19.70),
}


def is_cell(dataset: str, architecture: str, option_set: str, level: str, budget: int) -> bool:
    """Tells whether a cell is one of the paper's, budget included: only beside such do the paper's numbers stand.

    Examples:
        >>> is_cell("oxford-iiit-pet", "regnetx_016", "I", "A", 230)
        True
        >>> is_cell("oxford-iiit-pet", "regnetx_016", "I", "A", 236)  # 4 bits on average
        False
    """
    is_printed = dataset == DATASET and (architecture, option_set, level) in TABLE_1
    return is_printed and budget == total_bits(architecture, option_set, level)


# Section 4.1, Table 2, percent; of which images, it does not say. The pairs are told by colour only, but the text names
# that of ResNet18: 88.17 and 88.09 at full precision and -24.39 quantized, which is TABLE_3_CELL.
TABLE_2: dict[str, float] = {"resnet18": 23.60, "mobilenetv4_conv_medium": 67.32, "regnetx_016": 27.09}
# Section 4.1, Table 3, percent: quantized test accuracy of ResNet18's pairs, by network and policy.
TABLE_3_CELL = ("resnet18", "II", "B")
TABLE_3: dict[tuple[str, str], float] = {
    ("white_box", "robust"): 87.92,
    ("robust", "robust"): 87.95,
    ("detrimental", "robust"): 87.08,
    ("white_box", "detrimental"): 87.68,
    ("robust", "detrimental"): 87.71,
    ("detrimental", "detrimental"): 63.70,
    ("white_box", "random"): 87.79,
    ("robust", "random"): 88.06,
    ("detrimental", "random"): 82.50,
}
