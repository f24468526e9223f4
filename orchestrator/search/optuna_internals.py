"""Every private interface of Optuna that we use, as it was read in Optuna 5.0; no other module touches one."""

import copy
import warnings
from collections.abc import Container, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import CmaEsSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

READ_IN = "5.0"
_NOTE, _NOTE_VERSION, _PART = "dashboard:note_str:", "dashboard:note_ver", 2045
"""Attributes of a study that hold its note, and how many characters each."""


def trial_handle(study: optuna.Study, trial: FrozenTrial) -> Trial:
    """Returns a trial as the object that takes values in; Optuna hands one out for a new trial only."""
    return Trial(study, trial._trial_id)


def name_metrics(study: optuna.Study, names: list[str]) -> None:
    """Names the values of a study's trials, for whoever looks at it; Optuna warns that this may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(names)


def write_note(study: optuna.Study, text: str) -> None:
    """Writes the note that optuna-dashboard shows of a study, in the form of its version 0.21; once for equal texts."""
    storage, study_id = study._storage, study._study_id
    parts = {f"{_NOTE}{place}": text[begin : begin + _PART] for place, begin in enumerate(range(0, len(text), _PART))}
    known = storage.get_study_system_attrs(study_id)
    if any(known.get(name) != part for name, part in parts.items()):
        for name in [name for name in known if name.startswith(_NOTE) and name not in parts]:
            storage.set_study_system_attr(study_id, name, "")
        for name, part in parts.items():
            storage.set_study_system_attr(study_id, name, part)
        storage.set_study_system_attr(study_id, _NOTE_VERSION, known.get(_NOTE_VERSION, 0) + 1)


class SeenBySampler(optuna.Study):
    """A study as its sampler sees it.

    Without the trials that have no point, which samplers would take for proof that nothing is searched; with `others`,
    finished trials of other studies, as if they came before its own. They stand in no journal twice: whatever happens
    to a driver, the next one sees them where they are.
    """

    others: Sequence[FrozenTrial] = ()

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        others = [trial for trial in self.others if states is None or trial.state in states]
        return [*others, *(trial for trial in super()._get_trials(deepcopy, states, use_cache) if trial.params)]


def as_other(trial: FrozenTrial) -> FrozenTrial:
    """Returns a trial as one of `SeenBySampler.others`: with a number before all others, which TPE sorts by."""
    other = copy.copy(trial)
    other.number = -1
    return other


class ReplayedCmaEs(CmaEsSampler):
    """CMA-ES whose state is made again of the trials that are told.

    Optuna's own unpickles it from the journal, and so would run whatever stands in that file.
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
