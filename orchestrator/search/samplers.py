"""Samplers of the studies, from Optuna, and the points before them, from SciPy."""

import scipy
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from orchestrator.search.optuna_internals import ReplayedCmaEs
from search_spaces.loss_space import LossSpace, Point, point_at
from search_spaces.names import Sampler

STARTUP_TRIALS = 4
"""Trials of a study before a sampler with a model uses it. Optuna's ten are more than most of our cells ever run."""
TPE_STARTUP_TRIALS = 1
"""The same for TPE, which knows how to begin with one trial: near it. `Search.startup` keeps it from that."""


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


def quasi_random(space: LossSpace, *, seed: int, number: int) -> Point:
    """Returns a point of a scrambled Sobol sequence (Owen 1998), whose points leave no corner of the space out.

    A function of its arguments alone, unlike Optuna's QMCSampler, which counts in the study what it drew: a driver that
    dies between a draw and its trial would leave a point out.

    Args:
        space: What is searched.
        seed: Scrambles the sequence.
        number: Place in the sequence, from 0.
    """
    sequence = scipy.stats.qmc.Sobol(len(space.fields), scramble=True, rng=seed)
    if number:
        sequence.fast_forward(number)
    (shares,) = sequence.random(1)
    return point_at(space, [float(share) for share in shares])
