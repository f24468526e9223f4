"""Made-up results of the arms of a comparison, and how they are shown."""

import io
from collections.abc import Mapping

import pandas as pd
import pyarrow as pa
from rich.console import Console

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.reports.comparison.page import arms_table
from orchestrator.reports.terminal import render
from orchestrator.search.arms import Arm
from orchestrator.search.comparison_arms import choices_for
from orchestrator.store.folder import CHECKPOINT, EPOCHS
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from search_spaces.stages.registry import Stage
from tests.orchestrator.made_up import pair_metrics

CHOICES = Choices(architectures=("resnet10t",), option_sets=("I",), search={"trials": 2})


def sites(architecture: str) -> int:
    return 14


def plan_of(arm: Arm) -> Plan:
    return build_plan(build_grid("families", choices_for(arm, CHOICES), sites), sites)


PLANS = {arm: plan_of(arm) for arm in Arm}


def pairs(arm: Arm) -> list[Node]:
    return [node for node in PLANS[arm].nodes if node.stage is Stage.PAIR]


def finish(
    store: Store,
    node: Node,
    *,
    ended_at: int,
    drop: float,
    gap: float = 0.0,
    test: tuple[float, float] | None = None,
    seconds: float = 10.0,
    num_images: int | None = None,
    spent: Mapping[str, float] | None = None,
) -> None:
    """What a worker leaves of a trial of two epochs; on the test split it holds unless a gap and a drop are given."""
    metrics = pair_metrics(gap, drop, test=test or (gap + 0.002, drop - 0.03), num_test_images=num_images)
    metrics |= {f"test/{name}": value for name, value in (spent or {}).items()}
    folder = trial_of(store, node)
    folder.write_recipe(node, None)
    rows = [{"epoch": epoch, "seconds": seconds / 2, "timestamp_ms": ended_at - 2 + epoch} for epoch in (1, 2)]
    folder.folder.write_table(EPOCHS, pa.Table.from_pylist(rows))
    folder.write_result(metrics, {CHECKPOINT: b"x"}, seconds=seconds, data_sha256="d")


def shown(table: pd.DataFrame) -> str:
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(render(arms_table(table)))
    return console.export_text()


def row_of(arm: Arm, table: pd.DataFrame) -> list[str]:
    """Returns the texts of an arm's row."""
    (row,) = [row for row in arms_table(table).rows if row[0].text == arm.label]
    return [cell.text for cell in row]
