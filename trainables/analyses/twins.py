"""What a pair's failure hangs on: the same student under other allocations and other ranges.

A failure that its most common allocation makes for all images is static; one that 8 bits or ranges per channel undo is
no failure of the format. The search for an allocation per image asks whether anything about it is dynamic.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from search_spaces.analyses import Twins
from trainables.analyses.trained_pair import Row, Subject, Unit, paired_counts
from trainables.assessment.channel_scan import scan
from trainables.attacks.per_image import worst_per_image
from trainables.attacks.space import Space
from trainables.attacks.static import worst_static
from trainables.attacks.uniform import uniform
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST, VALIDATION
from trainables.evaluation import EVALUATION_BATCH, Classified, classify, outputs
from trainables.models.policy import Policy, profits_of
from trainables.quant.affine import fake_quantize
from trainables.quant.knapsack import bit_widths_of, select

# B = images of a split, L = sites.

INT8 = 8
NUM_COMMON = 8
"""Most common allocations of the policy that may be the worst static one."""
OWN, STATIC, PER_IMAGE = "own", "worst_static", "worst_per_image"


def twins(settings: Twins, subject: Subject) -> list[Unit]:
    """Measures a student on the test split under the allocations and ranges of its twins.

    What is chosen is chosen on the validation split: the most common allocation, calibrated ranges, the worst static
    allocation.

    Args:
        settings: What is drawn, and how long the two attacks search.
        subject: The pair.

    Returns:
        A unit with one row per twin: twin; accuracy_fp; accuracy_q; num_allocations, distinct ones over the images, and
        share_first, of the most common one; num_answers, classes that are answered, and share_two, of images that get
        one of the two most common answers; the counts of `paired_counts` from full precision to quantized;
        channel_ratio and channel_site, the largest ratio over sites of the loudest channel's mean maximum to that of
        the second (of `own`, otherwise None); and num_static_lost and num_static_gained, images that the worst static
        allocation leaves right and the search per image does not, and the reverse (of `worst_per_image`, otherwise
        None). Twins:

        * `own`: as its policy chooses;
        * `common`: its most common allocation, for all images;
        * `shuffled`: its allocations, permuted over the images;
        * `uniform`: as even as options and budget allow;
        * `untrained`: as a policy chooses that was never trained;
        * `int8`: 8 bits at every site;
        * `static_ranges`: `common`, with ranges from the extremes over the validation images;
        * `per_channel`: `common`, with a range per channel;
        * `worst_static`: the worst on validation of the policy's most common allocations and of what a search finds for
      all images (`trainables.attacks.static`), which alone would miss what training hid;
        * `worst_per_image`: the worst that a search with the label finds for each of `num_attacked` images
          (`trainables.attacks.per_image`); both searches are left out where a range spans a batch.
    """
    common_L = cache(partial(_most_common, subject))
    static_L = cache(partial(_worst_static, settings, subject))
    num_images, num_sites = subject.num_images(TEST), subject.student.num_sites

    def every(bit_width_L: Tensor) -> Tensor:
        return bit_width_L.expand(num_images, -1)

    per_channel = copy.copy(subject.student)
    per_channel.range_scope, per_channel.scale_quantile = "channel", subject.student.scale_quantile
    allocations: dict[str, Callable[[], Tensor]] = {
        "common": lambda: every(common_L()),
        "shuffled": lambda: subject.bit_width_BL(TEST)[_order(num_images, settings.draw_seed)],
        "uniform": lambda: uniform(num_images, _space(subject)),
        "untrained": lambda: _untrained(settings, subject),
        "int8": lambda: torch.full((num_images, num_sites), INT8),
    }
    units = [Unit(key=OWN, num_images=3 * num_images, rows=lambda: [_own_row(subject)])]
    for name, allocation in allocations.items():
        rows = partial(_rows, subject, name, allocation, subject.classify)
        units.append(Unit(key=name, num_images=num_images, rows=rows))
    with_ranges: dict[str, Callable[[str, Tensor], Classified]] = {
        "static_ranges": partial(_with_static_ranges, subject),
        "per_channel": partial(subject.classify, network=per_channel),
    }
    for name, run in with_ranges.items():
        rows = partial(_rows, subject, name, allocations["common"], run)
        units.append(Unit(key=name, num_images=num_images + subject.num_images(VALIDATION), rows=rows))
    if subject.student.range_scope == "batch":
        return units
    num_attacked = min(settings.num_attacked, num_images)
    return [
        *units,
        Unit(
            key=STATIC,
            num_images=num_images + (settings.max_passes + NUM_COMMON + 1) * subject.num_images(VALIDATION),
            rows=partial(_rows, subject, STATIC, lambda: every(static_L()), subject.classify),
        ),
        Unit(
            key=PER_IMAGE,
            num_images=num_attacked * settings.max_passes,
            rows=lambda: [_attack_row(settings, subject, static_L())],
        ),
    ]


def _own_row(subject: Subject) -> Row:
    row = _row(subject.full_precision(TEST), subject.quantized(TEST), subject.bit_width_BL(TEST), OWN)
    sites = scan(subject.student, (evaluation_batch(part, subject.data.view) for part in _parts(subject, TEST)))
    worst = sites.nlargest(1, "over_second").iloc[0]
    return row | {"channel_ratio": float(worst["over_second"]), "channel_site": str(worst["name"])}


def _rows(
    subject: Subject, twin: str, allocation: Callable[[], Tensor], run: Callable[[str, Tensor], Classified]
) -> list[Row]:
    bit_width_BL = allocation()
    return [_row(subject.full_precision(TEST), run(TEST, bit_width_BL), bit_width_BL, twin)]


def _attack_row(settings: Twins, subject: Subject, static_L: Tensor) -> Row:
    split = subject.split(TEST)
    drawn = split.take(_order(len(split), settings.draw_seed)[: settings.num_attacked].sort().values)
    some = subject.on(replace(subject.data, splits={**subject.data.splits, TEST: drawn}, known_sha256=None))
    found = worst_per_image(
        subject.student,
        evaluation_batch(drawn.images_BCHW, subject.data.view),
        drawn.labels_B,
        _space(subject),
        max_passes=settings.max_passes,
        seed=settings.draw_seed,
    )
    full = some.full_precision(TEST)
    attacked = Classified(labels_B=full.labels_B, image_ids_B=full.image_ids_B, logits_BK=found.logits_BK)
    against = paired_counts(some.classify(TEST, static_L.expand(len(drawn), -1)), attacked)
    return _row(full, attacked, found.bit_width_BL, PER_IMAGE) | {
        "num_static_lost": against["num_lost"],
        "num_static_gained": against["num_gained"],
    }


def _row(full: Classified, quantized: Classified, bit_width_BL: Tensor, twin: str) -> Row:
    allocations = bit_width_BL.unique(dim=0, return_counts=True)[1]
    answers = quantized.predictions_B.unique(return_counts=True)[1].sort(descending=True).values
    num_images = len(full.labels_B)
    return {
        "twin": twin,
        "accuracy_fp": full.accuracy,
        "accuracy_q": quantized.accuracy,
        "num_allocations": len(allocations),
        "share_first": allocations.max().item() / num_images,
        "num_answers": len(answers),
        "share_two": answers[:2].sum().item() / num_images,
        **paired_counts(full, quantized),
        "channel_ratio": None,
        "channel_site": None,
        "num_static_lost": None,
        "num_static_gained": None,
    }


def _space(subject: Subject) -> Space:
    recipe = subject.recipe
    return Space(num_sites=subject.student.num_sites, bit_widths=recipe.bit_widths, budget=recipe.budget)


def _most_common(subject: Subject) -> Tensor:
    return _by_frequency(subject)[0]


def _by_frequency(subject: Subject) -> Tensor:
    """Returns the distinct allocations of the validation images, the most common first."""
    allocations, counts = subject.bit_width_BL(VALIDATION).unique(dim=0, return_counts=True)
    return allocations[counts.argsort(descending=True, stable=True)]


def _worst_static(settings: Twins, subject: Subject) -> Tensor:
    split = subject.split(VALIDATION)
    labels = split.labels_B.split(EVALUATION_BATCH)
    images = [evaluation_batch(part, subject.data.view) for part in _parts(subject, VALIDATION)]
    batches = list(zip(images, labels, strict=True))
    found = worst_static(
        subject.student, batches, _space(subject), None, max_passes=settings.max_passes, seed=settings.draw_seed
    )
    candidates = [*_by_frequency(subject)[:NUM_COMMON], found.bit_width_L]

    def accuracy(bit_width_L: Tensor) -> float:
        return subject.classify(VALIDATION, bit_width_L.expand(len(split), -1)).accuracy

    return min(candidates, key=accuracy)


def _untrained(settings: Twins, subject: Subject) -> Tensor:
    """Returns what a policy with other first weights, made as that of a pair, chooses for the test images."""
    recipe, split = subject.recipe, subject.split(TEST)
    with torch.random.fork_rng():
        torch.manual_seed(settings.draw_seed)
        policy = Policy(num_sites=subject.student.num_sites, num_options=len(recipe.bit_widths)).eval()
    policy = policy.to(split.images_BCHW.device)
    profits_BLO = profits_of(outputs(policy, split, subject.data.view), recipe.profits)
    return bit_widths_of(select(profits_BLO, recipe.bit_widths, recipe.budget), recipe.bit_widths)


def _with_static_ranges(subject: Subject, split: str, bit_width_BL: Tensor) -> Classified:
    """Runs the student with ranges that the validation images fix, at weights of full precision."""
    student = subject.student
    ends: dict[int, tuple[Tensor, Tensor]] = {}

    def widen(site: int, x: Tensor) -> None:
        low, high = x.amin(), x.amax()
        before = ends.get(site, (low, high))
        ends[site] = (torch.minimum(low, before[0]), torch.maximum(high, before[1]))

    with torch.inference_mode():
        for part in _parts(subject, VALIDATION):
            student.observe(evaluation_batch(part, subject.data.view), None, widen)
    rows = iter(bit_width_BL.split(EVALUATION_BATCH))

    def run(images: Tensor) -> Tensor:
        bits_BL = next(rows).to(images.device)

        def quantize(x: Tensor, site: int) -> Tensor:
            low, high = ends[site]
            # Two more values per image, so that its own range is the calibrated one.
            both = torch.stack([low, high]).expand(len(x), 2)
            inside = torch.cat([x.clamp(low, high).flatten(1), both], dim=1)
            return fake_quantize(inside, bits_BL[:, site])[:, :-2].reshape(x.shape)

        return student.run_marked(images, quantize)

    return classify(run, subject.split(split), subject.data.view)


def _parts(subject: Subject, split: str) -> tuple[Tensor, ...]:
    return subject.split(split).images_BCHW.split(EVALUATION_BATCH)


def _order(num_images: int, seed: int) -> Tensor:
    return torch.randperm(num_images, generator=torch.Generator().manual_seed(seed))
