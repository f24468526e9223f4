"""Table 3: every network under every policy. Does it take the match of network and policy to fail?"""

from collections.abc import Hashable

import pandas as pd

from orchestrator.reports.seeds import CELL, CONTRAST, Row
from orchestrator.reports.statistics import mcnemar_p, mean_interval
from orchestrator.reports.table1 import PAPER_DATASET
from search_spaces.paper import TABLE_3, TABLE_3_CELL

NETWORKS = {"white_box": "white box", "robust": "robust", "detrimental": "detrimental"}
POLICIES = {"robust": "robust", "detrimental": "detrimental", "random": "random"}


def table3(cross_policy: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Summarizes the draws of every contrast, network and policy.

    Args:
        cross_policy: The table of the analysis.
        dataset: What the sweep trains on; the paper's numbers stand beside the paper's cell only.

    Returns:
        A row per contrast, network and policy: accuracy_fp, accuracy_q and accuracy_delta (fractions, means over
        draws), num_draws, accuracy_q_low and accuracy_q_high (95 % interval of the mean over draws; missing for a
        learned policy, which has one draw), p_value (McNemar, FP against quantized on the same images; learned
        policies only), and paper_accuracy_q.
    """
    rows = []
    for key, draws in cross_policy.groupby([*CONTRAST, "network", "policy"], sort=False):
        row: dict[Hashable, object] = dict(zip([*CONTRAST, "network", "policy"], key, strict=True))
        over_draws = mean_interval(draws["accuracy_q"].tolist())
        is_learned = row["policy"] != "random"
        first = draws.iloc[0]
        row |= {
            "accuracy_fp": float(draws["accuracy_fp"].mean()),
            "accuracy_q": over_draws.mean,
            "accuracy_delta": float(draws["accuracy_delta"].mean()),
            "num_draws": len(draws),
            "accuracy_q_low": over_draws.low,
            "accuracy_q_high": over_draws.high,
            "p_value": mcnemar_p(int(first["num_lost"]), int(first["num_gained"])) if is_learned else None,
            "paper_accuracy_q": _paper_accuracy_q(row, dataset),
        }
        rows.append(row)
    return pd.DataFrame(rows).astype({"p_value": "float64", "paper_accuracy_q": "float64"})


def _paper_accuracy_q(row: Row, dataset: str) -> float | None:
    if dataset != PAPER_DATASET or tuple(row[name] for name in CELL[:3]) != TABLE_3_CELL:
        return None
    return round(TABLE_3[str(row["network"]), str(row["policy"])] / 100, 6)
