"""Every setting of every analysis reaches its table, and changes that part of it only; see `tests.fields`."""

from collections.abc import Callable
from typing import Any

import pytest

from search_spaces.analyses import (
    ANALYSES,
    AdverseInputs,
    Analysis,
    Corruptions,
    CrossPolicy,
    Histograms,
    Indicators,
    Layers,
    Mitigation,
    Repairs,
    Transitory,
    Twins,
)
from search_spaces.model import vary
from tests.fields import Change, check_change, every_field
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.registry import units_of
from trainables.analyses.trained_pair import Row, Subject
from trainables.data.corruptions import STRENGTHS

KINDS = {type(analysis): analysis for analysis in ANALYSES.values()}
SEEN_AS: dict[type[Analysis], Callable[[Row], str] | None] = {
    CrossPolicy: lambda row: f"{row['policy']} {row['draw']}",
    Layers: lambda row: row["split"],
    Corruptions: lambda row: f"{row['corruption']} {row['degree']}",
    Mitigation: lambda row: f"{row['kind']} {row['value']:g}",
    Repairs: lambda row: f"{row['repair']} {row['value'] or 0:g}",
    Twins: lambda row: row["twin"],
    AdverseInputs: lambda row: f"{row['network']} {row['aim']} {row['images']} {row['radius']}",
}
"""Name of a row among what is seen of a table; of the other analyses the columns are seen."""
BASES: dict[type[Analysis], Analysis] = {
    CrossPolicy: CrossPolicy(num_draws=2),
    Layers: Layers(splits=("validation", "test"), max_images=16),
    Corruptions: Corruptions(num_degrees=1),
    Mitigation: Mitigation(quantiles=(0.9,), num_sites=(1, 2)),
    Repairs: Repairs(quantiles=(0.9,), num_sites=(1, 2), least_bits=(4,)),
    Twins: Twins(num_attacked=8, max_passes=30),
    Histograms: Histograms(low=-4.0, high=4.0, num_bins=50),
    AdverseInputs: AdverseInputs(radii=(1,), num_steps=2, corruptions=("noise",), max_passes=3, max_images=60),
}
DRAWN = [kind for kind in STRENGTHS if kind not in ("jpeg", "blur")]
"""Corruptions that draw numbers."""
BINS = [f"{name}_{of}" for name in ("counts", "zero", "outside") for of in ("fp", "q")]
NETWORKS = ("student", "white_box")
PIXELS = [f"{name} {aim} adverse" for name in NETWORKS for aim in ("quantized", "full_precision")]
BITS = [f"{name} allocation {kind} 0" for name in NETWORKS for kind in ("clean", "noise")]
ENTRIES = {
    CrossPolicy: {
        "num_draws": Change(3, ("random 2",)),
        "draw_seed": Change(1, ("random 0", "random 1")),
    },
    Transitory: {"num_thumbnails": Change(1, ("thumbnail",))},
    Layers: {"splits": Change(("test",), ("validation",)), "max_images": Change(8, ("validation", "test"))},
    Histograms: {
        "low": Change(-0.1, BINS),
        "high": Change(2.0, BINS),
        "num_bins": Change(20, [name for name in BINS if "outside" not in name]),
    },
    Corruptions: {
        "num_degrees": Change(2, [f"{kind} 2" for kind in STRENGTHS]),
        "draw_seed": Change(1, [f"{kind} 1" for kind in DRAWN]),
    },
    Mitigation: {
        "quantiles": Change((0.9, 0.8), ("scale_quantile 0.8",)),
        "num_sites": Change((1,), ("sites_at_full_precision 2", "random_sites 2")),
    },
    Repairs: {
        "quantiles": Change((0.9, 0.8), ("quantile_ranges 0.8",)),
        "num_sites": Change((1,), ("spared_sites 2",)),
        "least_bits": Change((4, 6), ("least_bits 6",)),
    },
    Twins: {
        "num_attacked": Change(5, ("worst_per_image",)),
        "max_passes": Change(11, ("worst_static", "worst_per_image")),
        "draw_seed": Change(1, ("shuffled", "untrained", "worst_static", "worst_per_image")),
    },
    AdverseInputs: {
        "radii": Change((1, 5), [f"{row} 5" for row in PIXELS]),
        "num_steps": Change(20, [f"{row} 1" for row in PIXELS]),
        "corruptions": Change(
            ("blur",), [f"{name} allocation {kind} 0" for name in NETWORKS for kind in ("noise", "blur")]
        ),
        "corruption_degree": Change(9, [f"{name} allocation noise 0" for name in NETWORKS]),
        "max_passes": Change(40, BITS),
        "max_images": Change(
            8, [*(f"{row} 1" for row in PIXELS), *BITS, *(f"{name} quantized clean 0" for name in NETWORKS)]
        ),
    },
    Indicators: {
        "corruption_degree": Change(8, ["corruption_loss", *(f"corruption_loss_{kind}" for kind in STRENGTHS)]),
        "draw_seed": Change(1, ["corruption_loss", *(f"corruption_loss_{kind}" for kind in DRAWN)]),
    },
}


def observe(settings: Analysis, subjects: list[Subject]) -> dict[str, Any]:
    """A table by the names of its rows, or by its columns."""
    rows, name_of = rows_of(units_of(settings, subjects)), SEEN_AS.get(type(settings))
    if name_of is None:
        return {column: [row[column] for row in rows] for column in rows[0]}
    names = dict.fromkeys(map(name_of, rows))
    return {name: [row for row in rows if name_of(row) == name] for name in names}


@pytest.fixture
def subjects(create_subject) -> Callable[[type[Analysis]], list[Subject]]:
    """Makes what an analysis looks at."""

    def make(kind: type[Analysis]) -> list[Subject]:
        detrimental = create_subject(noise=0.01, seed=2)
        return [create_subject(noise=0.02, seed=1, goal="robust"), detrimental] if kind.needs_both else [detrimental]

    return make


@pytest.mark.parametrize(("kind", "field", "change"), every_field(KINDS, ENTRIES))
def test_a_setting_of_an_analysis_changes_what_it_should_and_nothing_else(
    subjects, kind: type[Analysis], field: str, change: Change | None
) -> None:
    base, looked_at = BASES.get(kind, KINDS[kind]), subjects(kind)
    changed = vary(base, **{field: change and change.value})
    check_change(field, change, observe(base, looked_at), observe(changed, looked_at))
