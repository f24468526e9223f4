"""Sites in numbers: where along the depth accuracy is lost (Figure 2), and what happens to activations (Figure 3)."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.reports.seeds import CELL, PAIR, over_seeds

MODES = {"before": "before", "after": "after", "single": "single", "leave_one_out": "leave one out"}
EFFECT = {
    "before": "lost by quantizing this site after all before it",
    "after": "lost by quantizing this site before all after it",
    "single": "lost by quantizing this site alone",
    "leave_one_out": "given back by leaving this site at full precision",
}
_CURVE = ("split", "mode")
_SITE = ("site", "site_name")
HISTOGRAM_VALUES = ("zero_fp", "zero_q", "zero_change", "kurtosis_fp", "kurtosis_q", "sqnr_db", "single_drop")


def layer_effects(layers: pd.DataFrame) -> pd.DataFrame:
    """Says for every site what quantizing it does to each mode's curve.

    `before` at a site quantizes the sites before it, so that what the site itself costs is the step to the next site of
    the curve, and to the fully quantized accuracy behind the last; `after` is its mirror image. `single` costs its
    distance from full precision; `leave_one_out` gives back its distance from fully quantized.

    Args:
        layers: The table of the analysis.

    Returns:
        The same rows with `effect`, a fraction, positive where the site does harm.
    """
    table = layers.sort_values("site", kind="stable")
    curve = table.groupby([*PAIR, *_CURVE], sort=False)["accuracy"]
    effects = {
        "before": table["accuracy"] - curve.shift(-1).fillna(table["accuracy_q"]),
        "after": table["accuracy"] - curve.shift(1).fillna(table["accuracy_q"]),
        "single": table["accuracy_fp"] - table["accuracy"],
        "leave_one_out": table["accuracy"] - table["accuracy_q"],
    }
    effect = pd.Series(float("nan"), index=table.index)
    for mode, values in effects.items():
        effect[table["mode"] == mode] = values
    return table.assign(effect=effect).sort_index()


def worst_sites(effects: pd.DataFrame, *, num_sites: int = 1) -> pd.DataFrame:
    """Picks the sites with the largest effects of every curve; the first of them is its inflection.

    Args:
        effects: From `layer_effects`.
        num_sites: How many per curve.

    Returns:
        By cell, goal, split and mode a row per rank (from 1): site (from 0), site_name, and the means over seeds of
        effect, accuracy, accuracy_fp and accuracy_q with their `_sd`; num_seeds. Of equal effects the earlier site.
    """
    by = [*CELL, "goal", *_CURVE]
    means = over_seeds(effects, [*by, *_SITE], ("effect", "accuracy", "accuracy_fp", "accuracy_q"))
    ordered = means.sort_values(["effect", "site"], ascending=[False, True], kind="stable")
    ranked = ordered.assign(rank=ordered.groupby(by, sort=False).cumcount() + 1)
    picked = ranked[ranked["rank"] <= num_sites]
    order = means.groupby(by, sort=False).ngroup()
    return picked.assign(order=order).sort_values(["order", "rank"]).drop(columns="order").reset_index(drop=True)


def histogram_summary(histograms: pd.DataFrame, effects: pd.DataFrame | None) -> pd.DataFrame:
    """Condenses the histograms of every site.

    Args:
        histograms: The table of the analysis.
        effects: From `layer_effects`, for the drop of the single site on the test split; None leaves it missing.

    Returns:
        A row per pair and site: site (from 0), site_name, zero_fp and zero_q (share of values in the bin that holds
        0, the paper's sparsity measure), zero_change, kurtosis_fp, kurtosis_q, sqnr_db, single_drop (fraction).
    """
    columns = [*PAIR, *_SITE, "zero_fp", "zero_q", "kurtosis_fp", "kurtosis_q", "sqnr_db"]
    summary = histograms[columns].copy()
    summary.insert(len(PAIR) + 4, "zero_change", summary["zero_q"] - summary["zero_fp"])
    if effects is None:
        return summary.assign(single_drop=float("nan"))
    single = effects[(effects["mode"] == "single") & (effects["split"] == "test")]
    drops = single[[*PAIR, "site", "effect"]].rename(columns={"effect": "single_drop"})
    return summary.merge(drops, how="left", on=[*PAIR, "site"])


def collapse_correlations(summary: pd.DataFrame) -> pd.DataFrame:
    """Correlates over sites how much of an activation collapses to zero with what quantizing that site alone costs.

    Args:
        summary: From `histogram_summary`.

    Returns:
        A row per pair: num_sites with both numbers, and Spearman's correlation; missing below three sites or where
        one of the two is constant.
    """
    rows = []
    for key, sites in summary.groupby(list(PAIR), sort=False):
        both = sites[["zero_change", "single_drop"]].dropna()
        is_defined = len(both) > 2 and (both.nunique() > 1).all()
        spearman = both["zero_change"].rank().corr(both["single_drop"].rank()) if is_defined else float("nan")
        rows.append((*key, len(both), spearman))
    return pd.DataFrame(rows, columns=[*PAIR, "num_sites", "spearman"])


def most_changed_sites(summary: pd.DataFrame, *, num_sites: int) -> Sequence[int]:
    """Returns the sites whose share of zeros changes most, in the order of execution."""
    changes = summary.assign(size=summary["zero_change"].abs()).groupby("site")["size"].max()
    return sorted(changes.sort_values(ascending=False, kind="stable").index[:num_sites])
