"""What a search found: all its trials, the best so far, the Pareto front, and which parameter mattered."""

from collections.abc import Sequence

from orchestrator.choice import choose
from orchestrator.plan import Origin
from orchestrator.reports.format import pct, point, pp
from orchestrator.reports.pairs import PairRecord, records_of
from orchestrator.reports.sections import Column, Field, TextTable
from orchestrator.reports.trials import POINT_FIELDS, State, Trial
from search_spaces.loss_space import LossSpace
from search_spaces.recipes import Goal

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


def best_so_far(trials: Sequence[PairRecord]) -> list[tuple[int, float, float]]:
    """Returns by trial number its objective and the best one up to it, in percentage points of drop."""
    history: list[tuple[int, float, float]] = []
    for trial in sorted(trials, key=lambda trial: trial.trial_number):
        value = 100 * (trial.objective or 0.0)
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


def importances(trials: Sequence[PairRecord]) -> dict[str, float]:
    """Returns the share that each searched parameter has in reaching the best tenth of the objective (PED-ANOVA).

    Args:
        trials: Of one cell, for which `why_no_importances` is empty.
    """
    import optuna  # half a second, which only searches with enough trials pay

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high, log=True)
        for name, (low, high) in LossSpace().ranges.items()
    }
    for trial in _in_space(trials):
        point_of = {name: float(getattr(trial, name)) for name in POINT_FIELDS}
        study.add_trial(optuna.create_trial(params=point_of, distributions=distributions, value=trial.objective))
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {name: float(found[name]) for name in POINT_FIELDS}


def why_no_importances(trials: Sequence[PairRecord]) -> str:
    """Says why a cell's trials cannot tell which parameter mattered; nothing where they can."""
    num_trials = len(_in_space(trials))
    if num_trials < MIN_TRIALS:
        return f"{num_trials} trials are done within the searched ranges, at least {MIN_TRIALS} are needed"
    if len({trial.objective for trial in trials}) == 1:
        return "all trials have the same objective"
    return ""


def _in_space(trials: Sequence[PairRecord]) -> list[PairRecord]:
    """Leaves out the literal reading, and a recipe's own point outside the ranges that the others were drawn from."""
    ranges = LossSpace().ranges.items()
    inside = [trial for trial in trials if trial.origin != Origin.LITERAL]
    return [trial for trial in inside if all(low <= getattr(trial, name) <= high for name, (low, high) in ranges)]


def importance_table(records: Sequence[PairRecord]) -> TextTable | None:
    """Writes the importances of every searched cell down, or why there are none; None without a searched cell."""
    rows = []
    for title, trials in searched_cells(records).items():
        reason = why_no_importances(trials)
        found = {} if reason else importances(trials)
        numbers = [Field(pct(found.get(name), digits=0)) for name in POINT_FIELDS]
        rows.append((Field(title.replace("\n", " ")), Field(str(len(trials))), *numbers, Field(reason)))
    if not rows:
        return None
    columns = (
        Column("cell", is_number=False),
        Column("trials"),
        *(Column(name, "Importance (%)") for name in POINT_FIELDS),
        Column("why none", is_number=False, wraps=True),
    )
    title = "Which parameter mattered (PED-ANOVA of optuna, for the best tenth of the objective)"
    has_reason = any(row[-1].text for row in rows)
    return (
        TextTable(title, columns, tuple(rows))
        if has_reason
        else TextTable(title, columns[:-1], tuple(row[:-1] for row in rows))
    )


def search_statement(records: Sequence[PairRecord]) -> str:
    """Says in one sentence what searching added to the recipes' own points."""
    gains = []
    for trials in searched_cells(records).values():
        history = best_so_far(trials)
        gains.append((history[-1][2] - history[0][1], history[0][1], history[-1][2], trials))
    if not gains:
        return ""
    gain, first, best, trials = max(gains, key=lambda entry: entry[0])
    cell = f"{trials[0].architecture} {trials[0].option_set}-{trials[0].budget_level}"
    if gain <= 0:
        return f"No search beat the recipe's own point on validation ({cell}: objective {first:.1f} pp)."
    return f"Searching raised the objective on validation most at {cell}, from {first:.1f} to {best:.1f} pp."


def search_tables(trials: Sequence[Trial]) -> list[TextTable]:
    """Writes down every trial of every searched cell, with its point, in one table per cell."""
    cells: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.node.cell and trial.node.cell.search_trials and trial.state is not State.SPARED:
            cells.setdefault(trial.node.cell.cell_id, []).append(trial)
    columns = (
        Column("trial"),
        *(Column(name, "Point") for name in POINT_FIELDS),
        *(Column(name, "Validation") for name in ("FP", "delta", "gap", "objective")),
        *(Column(name, "Test") for name in ("FP", "delta", "gap")),
        Column("verdict", "Test", is_number=False, wraps=True),
    )
    tables = []
    for cell_id, of_cell in cells.items():
        records = records_of(of_cell)
        chosen = choose(records)
        by_uid = {record.uid: record for record in records}
        rows = tuple(_search_row(trial, by_uid.get(trial.node.uid), chosen) for trial in of_cell)
        tables.append(TextTable(cell_id, columns, rows))
    return tables


def _search_row(trial: Trial, record: PairRecord | None, chosen: PairRecord | None) -> tuple[Field, ...]:
    place = trial.point or {}
    is_chosen = record is not None and record is chosen
    notes = ["chosen"] if is_chosen else []
    notes += [str(trial.node.origin)] if trial.node.origin in (Origin.LITERAL, Origin.CONFIRMED) else []
    number = Field(str(trial.node.trial_number), note=", ".join(notes))
    weights = tuple(Field(point(place.get(name))) for name in POINT_FIELDS)
    if record is None:
        return (number, *weights, *[Field("")] * 7, Field(str(trial.state)))
    return (
        number,
        *weights,
        Field(pct(record.validation_accuracy_fp)),
        Field(pp(record.validation_accuracy_delta)),
        Field(pp(record.validation_parity_gap)),
        Field(pct(record.objective)),
        Field(pct(record.accuracy_fp)),
        Field(pp(record.accuracy_delta)),
        Field(pp(record.parity_gap)),
        Field(record.verdict, verdict=record.verdict),
    )
