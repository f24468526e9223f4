"""A launch without Ray whose trials reach the accuracies that a test says, and which can be killed at any moment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import Searcher

from orchestrator.launch.frontier import Frontier
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.journal import open_journal
from orchestrator.search.study import open_studies
from orchestrator.store.folder import CHECKPOINT, RECIPE
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from search_spaces.recipes import TrainingRecipe
from search_spaces.stages.registry import Stage
from tests.orchestrator.made_up import accuracies, pair_metrics

Quality = Callable[[Node], tuple[float, float]]
"""Parity gap and drop on validation that a trial comes to, after every epoch and at the end; may raise what it dies of.
"""
Slopes = Callable[[Node], tuple[float, float]]
"""Lag and divergence on validation, likewise."""
NOISE = 0.001
"""Standard error of every drop on validation."""


def search_plan(
    *,
    budgets: Sequence[int] = (60, 82, 105),
    epochs: int = 4,
    seeds: Sequence[int] = (),
    goals: Sequence[str] = ("detrimental",),
    overrides: Sequence[str] = (),
    **search: Any,
) -> Plan:
    """Returns cells of the quick grid, the detrimental ones searched, with fields of `Search`."""
    overrides = (f"pair.epochs={epochs}", *overrides)
    choices = Choices(search=search, goals=goals, budgets=budgets, overrides=overrides, seeds=seeds)
    return build_plan(build_grid("quick", choices, lambda _: 15), lambda _: 15)


@dataclass
class SearchDriver:
    """Runs a plan one trial at a time; to abandon `moments` is to kill it."""

    plan: Plan
    store: Store
    journal: Path
    quality: Quality
    slopes: Slopes | None = None
    """None for trials that an earlier version runs."""
    started: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets everything but the store and the journal, as a killed driver does."""
        journal = open_journal(self.journal)
        self.studies = open_studies(self.plan.searched_cells, journal, self.plan.grid.search)
        self.frontier = Frontier(
            Snapshot(self.plan, self.store), self.studies, data_dir=None, stop_file="sweeps/mine/stop"
        )

    def run(self) -> None:
        for _ in self.moments():
            pass

    def moments(self) -> Iterator[str]:
        """Runs what is left, and yields wherever a driver may die."""
        for number in range(1000):
            config = self.frontier.suggest(f"t{number}")
            if config is None or config == Searcher.FINISHED:
                return
            assert isinstance(config, dict)
            node = self.plan.node(config["uid"])
            self.started.append(node.name)
            yield f"{node.name} handed out"
            yield from self._train(f"t{number}", node)
            yield f"{node.name} ended, not told"
            self.frontier.on_trial_complete(f"t{number}", error=trial_of(self.store, node).state().is_failed)
            yield f"{node.name} told"

    def _train(self, trial_id: str, node: Node) -> Iterator[str]:
        trial = trial_of(self.store, node)
        if node.stage is not Stage.PAIR:
            trial.write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
            return
        assert isinstance(node.recipe, TrainingRecipe)
        try:
            gap, drop = self.quality(node)
        except Exception as error:
            trial.write_error(error)
            return
        names = ("validation/lag_q", "validation/divergence_fp")
        slopes = dict(zip(names, self.slopes(node), strict=True)) if self.slopes else {}
        rows = trial.epochs()
        for epoch in range(len(rows) + 1, node.recipe.epochs + 1):
            rows.append(
                {"epoch": epoch, "seconds": 3600.0, "timestamp_ms": 0, **accuracies("validation", gap, drop)} | slopes
            )
            trial.write_epoch(rows, b"state")
            yield f"{node.name} saved epoch {epoch}"
            if self.frontier.prunes(trial_id, rows[-1]):
                return
            yield f"{node.name} reported epoch {epoch}"
        trial.write_result(
            pair_metrics(gap, drop, noise=NOISE) | slopes, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d"
        )

    def node(self, name: str) -> Node:
        """Returns the node whose name ends so."""
        return next(node for node in self.plan.nodes if node.name.endswith(name))

    def states(self) -> dict[str, State]:
        """By name, as the frontier sees them."""
        return {node.name: self.frontier.states[node.uid] for node in self.plan.nodes}

    def recipes(self) -> dict[str, Any]:
        """What every trial was told to run, by name."""
        return {node.name: trial_of(self.store, node).folder.read_json(RECIPE) for node in self.plan.nodes}

    def optuna_trials(self, cell_id: str) -> list[optuna.trial.FrozenTrial]:
        """All trials of a study, read again."""
        return optuna.load_study(study_name=cell_id, storage=open_journal(self.journal)).get_trials()
