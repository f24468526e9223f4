"""Pruning through real Ray, with trials that train nothing: what is bad at half of its epochs goes no further."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from cluster.runtime.session import session
from orchestrator.launch.ending.audit import compare
from orchestrator.launch.tuner import Launch
from orchestrator.plan import Node
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import CHECKPOINT, PRUNED, RESUME
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import ROW, TrialFolder, trial_of
from tests.orchestrator.made_up import accuracies, pair_metrics
from tests.orchestrator.search_driver import search_plan

EPOCHS = 4
PLAN = search_plan(
    budgets=(82,), epochs=EPOCHS, trials=3, keep_searching=True, pruner="halving", start_points=("recipe",)
)


def fake_trial(config: dict[str, Any]) -> None:
    """Later trials are worse; a trial that goes on after it was pruned leaves a result."""
    trial = TrialFolder(Store(config["storage"], create=False), config["stage"], config["uid"])
    if trial.stage != "pair":
        trial.write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
        return
    planned = trial.recipe()
    assert planned is not None
    gap, drop = 0.02, 0.5 - 0.1 * planned.trial_number
    rows = []
    for epoch in range(1, EPOCHS + 1):
        rows.append({"epoch": epoch, "seconds": 1.0, "timestamp_ms": epoch, **accuracies("validation", gap, drop)})
        trial.write_epoch(rows, b"state")
        tune.report({ROW: rows[-1], "num_epochs": EPOCHS})
    trial.write_result(pair_metrics(gap, drop), {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")


@dataclass
class Heard:
    """What a listener of a launch hears."""

    epochs: dict[str, list[int]] = field(default_factory=dict)
    ended_as: dict[str, list[State]] = field(default_factory=dict)
    store: Store | None = None

    def started(self, node: Node, recipe: Mapping[str, Any]) -> None:
        self.epochs.setdefault(node.uid, [])

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        self.epochs[node.uid].append(row["epoch"])

    def ended(self, node: Node) -> None:
        assert self.store is not None
        self.ended_as.setdefault(node.uid, []).append(trial_of(self.store, node).state())


@pytest.mark.ray
@pytest.mark.slow
def test_bad_trials_end_at_half_of_their_epochs_and_everybody_hears_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path / "storage"))
    sweep, heard = Sweep(store, "pruning"), Heard(store=store)
    launch = Launch(sweep=sweep, snapshot=Snapshot(PLAN, sweep.store), trainable=fake_trial)
    with session(None), launch.open_frontier() as frontier:
        launch.run(frontier, {node.uid: 0.0 for node in PLAN.nodes}, lambda: 1, [heard])
    assert "Trial " not in capfd.readouterr().out, "Tune says nothing of its own"
    first, *others = [node for node in PLAN.nodes if node.cell]
    assert frontier.states[first.uid] is State.DONE
    assert len(others) == 3
    for node in others:
        folder = trial_of(store, node)
        assert folder.state() is State.PRUNED
        assert folder.folder.read_json(PRUNED) == {"schema": 1, "epoch": EPOCHS // 2}
        assert not folder.folder.exists(RESUME)
        assert [row["epoch"] for row in folder.epochs()] == [1, 2]
        assert heard.epochs[node.uid] == [1, 2], "the epoch at which a trial is pruned is heard of, too"
        assert heard.ended_as[node.uid] == [State.PRUNED]
    assert heard.epochs[first.uid] == [1, 2, 3, 4]
    runs = [(node.uid, "KILLED" if node in others else "FINISHED") for node in PLAN.nodes]
    assert compare(Snapshot(PLAN, store), frontier.studies, runs).disagreements == ()
