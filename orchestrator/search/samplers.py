"""Samplers and pruners of the studies, from Optuna."""

from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from orchestrator.search.optuna_internals import ReplayedCmaEs
from search_spaces.names import Sampler
from search_spaces.search import HALVING, Search, rung

STARTUP_TRIALS = 4
"""Trials of a study before a sampler with a model uses it. Optuna's ten are more than most of our cells ever run."""
TPE_STARTUP_TRIALS = 1
"""The same for TPE, which knows how to begin with one trial: near it. A study's first is a recipe that works elsewhere,
so that its surroundings deserve a look before the corners of the space."""


def make_sampler(name: Sampler, *, seed: int) -> BaseSampler:
    """Returns a sampler; constraints reach those that know them through the trials."""
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
