"""Corruptions, cures and indicators in numbers (section 4.3 and the end of 4.2)."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.analyses.tables import PAIR_COLUMNS
from orchestrator.reports.indicator_statistics import correlations
from orchestrator.reports.pairs import PairRecord
from orchestrator.reports.seeds import CELL, CONTRAST, PAIR, over_seeds

CURES = {
    "none": "none",
    "scale_quantile": "scale from a quantile",
    "sites_at_full_precision": "worst sites at full precision",
    "random_sites": "random sites at full precision",
}
MEASURED = ("accuracy_fp", "accuracy_q")


def corruption_summary(corruptions: pd.DataFrame) -> pd.DataFrame:
    """Averages over the degrees of every corruption and compares the two goals.

    Args:
        corruptions: The table of the analysis; rows of degree 0 are the clean images.

    Returns:
        A row per contrast and corruption (`clean` first): accuracy_fp and accuracy_q of the robust and of the
        detrimental network as `robust_accuracy_fp` and so on, and accuracy_fp_difference, robust minus detrimental;
        missing where only one of them was measured.
    """
    named = corruptions.assign(corruption=corruptions["corruption"].mask(corruptions["degree"] == 0, "clean"))
    named = pd.concat([named[named["degree"] == 0], named[named["degree"] > 0]])
    keys = [*CONTRAST, "corruption"]
    means = named.groupby([*keys, "goal"], sort=False)[list(MEASURED)].mean().reset_index()
    summary = means[keys].drop_duplicates().reset_index(drop=True)
    for goal in ("robust", "detrimental"):
        of_goal = means[means["goal"] == goal].rename(columns={name: f"{goal}_{name}" for name in MEASURED})
        summary = summary.merge(of_goal.drop(columns="goal"), how="left", on=keys)
    order = summary.groupby(list(CONTRAST), sort=False).ngroup()
    summary = summary.loc[order.sort_values(kind="stable").index].reset_index(drop=True)
    difference = summary["robust_accuracy_fp"] - summary["detrimental_accuracy_fp"]
    return summary.assign(accuracy_fp_difference=difference)


def corruption_curves(corruptions: pd.DataFrame) -> pd.DataFrame:
    """Returns accuracy by degree, mean over seeds, with the clean images as degree 0 of every corruption."""
    clean = corruptions[corruptions["degree"] == 0]
    others = corruptions[corruptions["degree"] > 0]
    kinds = list(dict.fromkeys(others["corruption"]))
    shared = [clean.assign(corruption=kind) for kind in kinds]
    every = pd.concat([*shared, others]) if shared else others
    curves = over_seeds(every, [*CELL, "goal", "corruption", "degree"], MEASURED)
    return curves.sort_values("degree", kind="stable").reset_index(drop=True)


def mitigation_summary(mitigation: pd.DataFrame) -> pd.DataFrame:
    """Averages over the draws of every cure.

    Returns:
        A row per pair, kind and value: accuracy_fp, accuracy_q (fractions), recovered (share of the drop that is given
        back; missing where nothing dropped), num_draws, and `sites` as text, 1-based, where the draws agree on them.
    """
    keys = [*PAIR, "kind", "value"]
    table = mitigation.assign(
        recovered=mitigation["recovered"].astype("float64"),
        sites=[" ".join(str(site + 1) for site in sites) for sites in mitigation["sites"]],
    )
    groups = table.groupby(keys, sort=False, dropna=False)
    summary = groups[[*MEASURED, "recovered"]].mean()
    sites = groups["sites"].agg(lambda texts: texts.iloc[0] if texts.nunique() == 1 else "")
    return pd.concat([summary, groups.size().rename("num_draws"), sites], axis=1).reset_index()


def indicator_correlations(indicators: pd.DataFrame, records: Sequence[PairRecord]) -> pd.DataFrame:
    """Correlates every signal with the drop on the test split, over the detrimental pairs of a sweep, and over all.

    Args:
        indicators: The table of the analysis, a row per finished pair.
        records: The pairs, for their drops.

    Returns:
        By group (`detrimental`, `all`), a row per signal as `correlations` gives it, the strongest first.
    """
    drops = {record.uid: -record.accuracy_delta for record in records}
    table = indicators.set_index("pair_uid")
    signals = table.drop(columns=[name for name in PAIR_COLUMNS if name in table]).select_dtypes("number")
    by_uid = pd.Series(drops, dtype="float64").reindex(table.index)
    parts = []
    for group, is_in in (("detrimental", table["goal"] == "detrimental"), ("all", pd.Series(True, index=table.index))):
        found = correlations(signals[is_in], by_uid[is_in])
        strongest = found["spearman"].abs().sort_values(ascending=False, kind="stable", na_position="last").index
        parts.append(found.loc[strongest].assign(group=group))
    both = pd.concat(parts, ignore_index=True)
    return both[["group", *(name for name in both.columns if name != "group")]]
