"""Assessments of a sweep: what its trials measured, put together as `assessment.json` has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.plan import Node
from orchestrator.results.gate import apply_rules
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.verifications import read_verified
from orchestrator.store.folder import PREDICTIONS
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder
from search_spaces.budgets import placement_of, scope_of
from search_spaces.errors import StorageError
from search_spaces.recipes import PairRecipe
from search_spaces.stages.assessment import INT8, AssessRecipe
from search_spaces.stages.rules import parse_rule
from trainables.assessment.assemble import assemble
from trainables.assessment.record import Assessment, MissingRung, Model, Rung, RuntimeRun, RuntimeRung
from trainables.assessment.trained import trained_rung
from trainables.deployment.record import Verification

COMPANIONS = "companions"
"""Name of the table of the part about companions."""
_PARQUET = ".parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An assessment as far as its parts are done. Trainings are no parts: rungs without them are named as missing."""

    assessment: Assessment
    tables: dict[str, pd.DataFrame]
    """Of the part about the network, by name: sites, channels, cures; and of the one about companions."""
    num_parts: int
    num_done: int

    @property
    def is_complete(self) -> bool:
        """Whether all parts are done; the verdict of an incomplete assessment may change."""
        return self.num_done == self.num_parts


def read_assessments(snapshot: Snapshot, rules: Sequence[str]) -> list[Found]:
    """Returns the assessment of every network of a sweep whose part about the network is done, in plan order.

    Args:
        snapshot: Of the sweep.
        rules: Of `--fail-if`; they are applied to complete assessments.

    Raises:
        StorageError: A table is damaged.
    """
    by_model: dict[str, list[Node]] = {}
    for node in snapshot.plan.nodes:
        if node.recipe.given and (node.rung or isinstance(node.recipe, AssessRecipe)):
            by_model.setdefault(node.recipe.given.uri, []).append(node)
    found = (_read(nodes, snapshot, rules) for nodes in by_model.values())
    return [each for each in found if each]


def _read(nodes: Sequence[Node], snapshot: Snapshot, rules: Sequence[str]) -> Found | None:
    parts = [node for node in nodes if not node.rung]
    done = [node for node in parts if snapshot.states[node.uid] is State.DONE]
    network = next(
        (node for node in done if isinstance(node.recipe, AssessRecipe) and node.recipe.is_about_network), None
    )
    result = snapshot.trial(network).result() if network else None
    if network is None or result is None:
        return None
    recipe = network.recipe
    assert isinstance(recipe, AssessRecipe)
    tables = {node.uid: _tables(snapshot.trial(node)) for node in done}
    trained = [_trained(node, snapshot) for node in nodes if node.rung]
    own = dict(tables[network.uid])
    for each in tables.values():
        own |= {name: table for name, table in each.items() if name == COMPANIONS}
    assessment = assemble(
        Model(uri=recipe.model.uri, sha256=recipe.model.sha256 or "", architecture=recipe.architecture),
        [each for each in tables.values() if COMPANIONS not in each],
        num_images=int(result.metrics["num_images"]),
        num_sites=int(result.metrics["num_sites"]),
        labels=recipe.labels,
        sites=placement_of(recipe.sites),
        range_scope=scope_of(recipe.range_scope),
        trained=[each for each in trained if isinstance(each, Rung)],
        missing=[each for each in trained if isinstance(each, MissingRung)],
        runtime=_runtime(nodes, snapshot, int(result.metrics["num_sites"])),
    )
    if len(done) == len(parts):
        gate = apply_rules([parse_rule(text) for text in rules], assessment)
        assessment = assessment.model_copy(update={"gate": gate})
    return Found(assessment=assessment, tables=own, num_parts=len(parts), num_done=len(done))


def _trained(node: Node, snapshot: Snapshot) -> Rung | MissingRung:
    """Returns the rung that a training makes, or why it is not there."""
    trial, state, trainings = snapshot.trial(node), snapshot.states[node.uid], snapshot.plan.grid.trainings
    assert isinstance(node.recipe, PairRecipe)
    assert trainings
    assert node.rung
    if state is State.DONE:
        predictions = trial.folder.read_table(PREDICTIONS)
        if predictions is None:
            path = f"{trial.folder.root}/{PREDICTIONS}"
            raise StorageError(f"{path} is missing: train again with `resume --restart {node.uid}`.")
        return trained_rung(node.rung, node.recipe.budget, predictions, trainings.class_names)
    headline = trial.headline()
    reason = f"{state}: {headline.line}" if headline else str(state)
    return MissingRung.model_validate({"rung": node.rung, "budget": node.recipe.budget, "reason": reason})


def _runtime(nodes: Sequence[Node], snapshot: Snapshot, num_sites: int) -> list[RuntimeRung]:
    """Returns the rungs that ran in ONNX Runtime, or could not: that of the network before those of trainings."""
    done = [node for node in nodes if snapshot.states[node.uid] is State.DONE]
    verified = [(node, each) for node in done if (each := read_verified(snapshot.trial(node)))]
    found = []
    for node, each in sorted(verified, key=lambda pair: pair[0].rung is not None):
        budget = node.recipe.budget if isinstance(node.recipe, PairRecipe) else INT8 * num_sites
        values = {"rung": node.rung or "int8", "budget": budget, "verdict": None, "reason": each.reason}
        found.append(RuntimeRung.model_validate(values | (_runs(each.found) if each.found else {})))
    return found


def _runs(found: Verification) -> dict[str, Any]:
    runs = {"simulated": found.simulated, "exported": found.exported, "int8": found.int8, "torchao": found.torchao}
    return {
        "verdict": found.verdict,
        "num_images": found.num_images,
        "accuracy_fp": found.accuracy_fp,
        "disagreements": found.exported.disagreements,
        "nodes": found.culprits.nodes if found.culprits else (),
        "processor": str(found.processor),
    } | {
        name: {field: getattr(run, field) for field in RuntimeRun.model_fields} if run else None
        for name, run in runs.items()
    }


def _tables(trial: TrialFolder) -> dict[str, pd.DataFrame]:
    """Returns the tables that a part left, by name."""
    result = trial.result()
    names = [name for name in result.files if name.endswith(_PARQUET) and name != PREDICTIONS] if result else []
    found = {name.removesuffix(_PARQUET): trial.folder.read_table(name) for name in names}
    return {name: table.to_pandas() for name, table in found.items() if table is not None}
