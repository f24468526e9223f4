"""Samplers and pruners of the studies, from Optuna."""

from typing import Any

from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search_spaces.names import Sampler
from search_spaces.search import HALVING, Search, rung

STARTUP_TRIALS = 4
"""Trials of a study before a sampler with a model uses it. Optuna's ten are more than most of our cells ever run."""
TPE_STARTUP_TRIALS = 1
"""The same for TPE, which knows how to begin with one trial: near it. A study's first is a recipe that works elsewhere,
so that its surroundings deserve a look before the corners of the space."""


class ReplayedCmaEs(CmaEsSampler):
    """CMA-ES whose state is made anew of the trials that are told.

    Optuna's own unpickles it from the journal, and so would run whatever somebody wrote into that file.
    """

    _told: list[FrozenTrial]

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> None:
        """Restores nothing, whereupon Optuna asks for a new optimizer."""
        self._told = completed_trials

    def _init_optimizer(self, trans: Any, direction: StudyDirection) -> Any:
        """Returns the optimizer after all generations that are complete."""
        optimizer = super()._init_optimizer(trans, direction)
        size, sign = optimizer.population_size, -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
        while len(generation := self._get_solution_trials(self._told, optimizer.generation)) >= size:
            told = [(trans.transform(trial.params), sign * (trial.value or 0.0)) for trial in generation[:size]]
            optimizer.tell(told)
        return optimizer


def make_sampler(name: Sampler, *, seed: int) -> BaseSampler:
    """Returns a sampler; constraints reach those that know them through the trials.

    Args:
        name: As in `Search.sampler`.
        seed: Of whatever it draws.
    """
    # Trials run at the same time: the ones that are not told yet count as bad, so that points spread.
    if name == "tpe":
        return TPESampler(seed=seed, n_startup_trials=TPE_STARTUP_TRIALS, multivariate=True, constant_liar=True)
    if name == "gp":
        return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    if name == "cmaes":
        # Choices lie outside of its model, and it draws them at random.
        return ReplayedCmaEs(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)
    if name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=2 * STARTUP_TRIALS)
    return RandomSampler(seed=seed)


def make_pruner(search: Search, epochs: int) -> BasePruner:
    """Returns the pruner of a study whose trials take so many epochs.

    Successive halving with one rung: the better half of the trials that reach half of their epochs goes on. Earlier,
    objectives say little of how trials end (README has the rank correlations), so there is no earlier rung.
    """
    if not search.prunes(epochs):
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=rung(epochs), reduction_factor=HALVING)
