"""What the trials of a search tell: the best so far, the Pareto front, and which searched field mattered."""

from collections.abc import Sequence

from orchestrator.plan import Origin
from orchestrator.reports.layout import Column, TextTable, pct, text_table
from orchestrator.results.pairs import PairRecord
from search_spaces.loss_space import LossSpace, holds
from search_spaces.names import OBJECTIVES, Goal, Objective

MIN_TRIALS = 10
"""Finished trials from which importances are computed: PED-ANOVA compares the best tenth with all."""


def searched_cells(records: Sequence[PairRecord]) -> dict[str, list[PairRecord]]:
    """Groups the detrimental pairs that are done by cell, those cells that are searched, by a title of two lines."""
    cells: dict[str, list[PairRecord]] = {}
    detrimental = [record for record in records if record.goal is Goal.DETRIMENTAL]
    has_seeds = len({record.seed for record in detrimental}) > 1
    for record in detrimental:
        seed = f", seed {record.seed}" if has_seeds else ""
        title = f"{record.architecture}\n{record.option_set}-{record.budget_level}, {record.budget} bits{seed}"
        cells.setdefault(title, []).append(record)
    return {title: trials for title, trials in cells.items() if any(trial.trial_number for trial in trials)}


def objective_word(objective: Objective) -> str:
    """Returns what reports call it: the drop has a penalty for lost parity in it, and is not the drop beside it."""
    return "objective" if objective == "drop" else objective


def best_so_far(trials: Sequence[PairRecord], objective: Objective = OBJECTIVES[0]) -> list[tuple[int, float, float]]:
    """Returns by trial number its objective and the best one up to it, in percentage points."""
    history: list[tuple[int, float, float]] = []
    for trial in sorted(trials, key=lambda trial: trial.trial_number):
        value = 100 * (trial.scored(objective) or 0.0)
        history.append((trial.trial_number, value, max(value, history[-1][2]) if history else value))
    return history


def pareto_front(trials: Sequence[PairRecord]) -> list[PairRecord]:
    """Returns the trials that no other beats in both parity gap and drop on validation, by growing gap.

    Of equal trials the earliest is kept.
    """
    front: list[PairRecord] = []
    for trial in sorted(trials, key=lambda t: (t.validation_parity_gap, t.validation_accuracy_delta, t.trial_number)):
        if not front or trial.validation_accuracy_delta < front[-1].validation_accuracy_delta:
            front.append(trial)
    return front


def importances(
    trials: Sequence[PairRecord], space: LossSpace, objective: Objective = OBJECTIVES[0]
) -> dict[str, float]:
    """Returns the share that each searched field has in reaching the best tenth of the objective (PED-ANOVA).

    The trials are of one cell, for which `why_no_importances` is empty.
    """
    import optuna  # half a second, which only searches with enough trials pay

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high, log=True) for name, (low, high) in space.ranges.items()
    }
    for name, given in space.choices.items():
        distributions[name] = optuna.distributions.CategoricalDistribution(given)
    for trial in _in_space(trials, space):
        params = {name: trial.point[name] for name in space.fields}
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=trial.scored(objective)))
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {name: float(found[name]) for name in space.fields}


def why_no_importances(trials: Sequence[PairRecord], space: LossSpace, objective: Objective = OBJECTIVES[0]) -> str:
    """Says why a cell's trials cannot tell which field mattered; nothing where they can."""
    num_trials = len(_in_space(trials, space))
    if num_trials < MIN_TRIALS:
        return f"{num_trials} trials are done within the searched ranges, at least {MIN_TRIALS} are needed"
    if len({trial.scored(objective) for trial in trials}) == 1:
        return "all trials have the same objective"
    return ""


def _in_space(trials: Sequence[PairRecord], space: LossSpace) -> list[PairRecord]:
    """Leaves out the point as published, and a recipe's own point outside the space that the others were drawn from."""
    return [trial for trial in trials if trial.origin != Origin.AS_PUBLISHED and holds(space, trial.point)]


def importance_table(
    records: Sequence[PairRecord], space: LossSpace, objective: Objective = OBJECTIVES[0]
) -> TextTable | None:
    """Writes the importances of every searched cell down, or why there are none; None without a searched cell."""
    rows = []
    for title, trials in searched_cells(records).items():
        reason = why_no_importances(trials, space, objective)
        found = {} if reason else importances(trials, space, objective)
        shares = [pct(found.get(name), digits=0) for name in space.fields]
        rows.append((title.replace("\n", " "), str(len(trials)), *shares, reason))
    columns = (
        Column.name("cell"),
        Column("trials"),
        *(Column(name, "Importance (%)") for name in space.fields),
        Column.text("why none", is_optional=True),
    )
    word = objective_word(objective)
    title = f"Which searched field mattered (PED-ANOVA of optuna, for the best tenth of the {word})"
    return text_table(title, columns, rows) if rows else None


def search_statement(records: Sequence[PairRecord], objective: Objective = OBJECTIVES[0]) -> str:
    """Says in one sentence what searching added to the recipes' own points."""
    ends = []
    for trials in searched_cells(records).values():
        history = best_so_far(trials, objective)
        ends.append((history[0][1], history[-1][2], trials[0]))
    if not ends:
        return ""
    first, best, pair = max(ends, key=lambda each: each[1] - each[0])
    cell = f"{pair.architecture} {pair.option_set}-{pair.budget_level}"
    word = objective_word(objective)
    if best <= first:
        return f"No search beat the recipe's own point on validation ({cell}: {word} {first:.1f} pp)."
    return f"Searching raised the {word} on validation most at {cell}, from {first:.1f} to {best:.1f} pp."
