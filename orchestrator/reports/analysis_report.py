"""What a report says of a sweep's analyses: their tables, the tables that follow from them, and the sections."""

from collections.abc import Mapping, Sequence

import pandas as pd

from orchestrator.reports.pair_sections import cross_policy_section, transitory_section
from orchestrator.reports.pairs import PairRecord
from orchestrator.reports.sections import Section
from orchestrator.reports.seeds import Row
from orchestrator.reports.site_sections import histogram_section, layer_section
from orchestrator.reports.site_tables import collapse_correlations, histogram_summary, layer_effects, worst_sites
from orchestrator.reports.stress_sections import corruption_section, indicator_section, mitigation_section
from orchestrator.reports.stress_tables import (
    corruption_curves,
    corruption_summary,
    indicator_correlations,
    mitigation_summary,
)
from orchestrator.reports.table3 import table3
from orchestrator.reports.transitory import overlaps, table2, worst_points

Tables = Mapping[str, pd.DataFrame]


def derived_tables(analyses: Tables, records: Sequence[PairRecord], *, dataset: str) -> dict[str, pd.DataFrame]:
    """Computes everything that follows from the analyses that are done.

    Args:
        analyses: From `read_tables`.
        records: The pairs that are done.
        dataset: What the sweep trains on.

    Returns:
        By name, which is also the name of its file.
    """
    derived: dict[str, pd.DataFrame] = {}
    if (transitory := analyses.get("transitory")) is not None:
        derived["table2"] = table2(transitory, dataset=dataset)
        derived["transitory_points"] = worst_points(transitory)
        derived["transitory_overlaps"] = overlaps(transitory)
    if (cross_policy := analyses.get("cross_policy")) is not None:
        derived["table3"] = table3(cross_policy, dataset=dataset)
    if (layers := analyses.get("layers")) is not None:
        derived["layer_effects"] = layer_effects(layers)
        derived["layer_inflections"] = worst_sites(derived["layer_effects"])
    if (histograms := analyses.get("histograms")) is not None:
        derived["histogram_summary"] = histogram_summary(histograms, derived.get("layer_effects"))
        derived["collapse_correlations"] = collapse_correlations(derived["histogram_summary"])
    if (corruptions := analyses.get("corruptions")) is not None:
        derived["corruption_summary"] = corruption_summary(corruptions)
        derived["corruption_curves"] = corruption_curves(corruptions)
    if (mitigation := analyses.get("mitigation")) is not None:
        derived["mitigation_summary"] = mitigation_summary(mitigation)
    if (indicators := analyses.get("indicators")) is not None:
        derived["indicator_correlations"] = indicator_correlations(indicators, records)
    return derived


def analysis_sections(analyses: Tables, derived: Tables, cells: Sequence[Row]) -> list[Section]:
    """Writes the sections of the analyses that are done, in the paper's order.

    Args:
        analyses: From `read_tables`.
        derived: From `derived_tables`.
        cells: The cells that figures show, from `shown_cells`.
    """
    sections = []
    if "table2" in derived:
        sections.append(transitory_section(analyses["transitory"], derived, cells))
    if "table3" in derived:
        sections.append(cross_policy_section(derived["table3"], cells))
    if "layer_effects" in derived:
        sections.append(layer_section(derived["layer_effects"], cells))
    if "histogram_summary" in derived:
        summary, found = derived["histogram_summary"], derived["collapse_correlations"]
        sections.append(histogram_section(analyses["histograms"], summary, found, cells))
    if "corruption_summary" in derived:
        sections.append(corruption_section(derived["corruption_summary"], derived["corruption_curves"], cells))
    if "mitigation_summary" in derived:
        sections.append(mitigation_section(derived["mitigation_summary"], cells))
    if "indicator_correlations" in derived:
        sections.append(indicator_section(derived["indicator_correlations"]))
    return sections
