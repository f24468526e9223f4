"""The sections of a page on its searches, and the tables that lie beside it as files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from orchestrator.plan import Plan
from orchestrator.reports.document import Section, pictures
from orchestrator.reports.grouping import is_missing
from orchestrator.reports.layout import filled, pct
from orchestrator.reports.search.figures import figure_history, figure_search, figure_search_cost
from orchestrator.reports.search.importance import importance_table, objective_word, search_statement
from orchestrator.reports.search.pruning import ALL, pruned_trials, rung_correlations
from orchestrator.reports.search.tables import (
    correlation_table,
    cost_table,
    curve_table,
    verdict_table,
)
from orchestrator.results.searches import SearchedCell, objective_of, read_searches
from orchestrator.results.time_to_pair import median_text, seconds_text, time_to_pair
from orchestrator.results.trials import Trial
from orchestrator.results.verdicts import Outcome, SearchVerdict, outcome_of, outcome_table
from search_spaces.loss_space import LossSpace
from search_spaces.names import Objective

_OTHER_VERDICTS = {
    SearchVerdict.WITHIN_NOISE: "within noise",
    SearchVerdict.SOMETIMES: "on some seeds",
    SearchVerdict.VALIDATION_ONLY: "on the validation split only",
    SearchVerdict.NOT_FOUND: "without a hit",
}
MEANING: dict[Objective, str] = {
    "drop": "",
    "lag": " Lag: how far the white box's class lies behind the best other one in the quantized student, in "
    "probability, mean over validation images, from -100 (it leads) to 100 pp, less 10 times the gap beyond 1 pp.",
}


@dataclass(frozen=True, slots=True)
class Searches:
    """All that a report says of the searches of a sweep."""

    space: LossSpace
    cells: tuple[SearchedCell, ...]
    outcomes: tuple[Outcome, ...]
    curve: pd.DataFrame
    correlations: pd.DataFrame
    objective: Objective
    """What its studies maximize."""


def searches_of(plan: Plan, trials: Sequence[Trial]) -> Searches | None:
    """Reads the searches of a sweep; None where no cell is searched."""
    cells = read_searches(trials)
    if not cells:
        return None
    outcomes = tuple(outcome_of(cell) for cell in cells)
    objective = objective_of(cells, plan.grid.search.maximizes)
    correlated = rung_correlations(cells, objective)
    return Searches(plan.grid.search.space, cells, outcomes, time_to_pair(outcomes), correlated, objective)


def search_files(searches: Searches) -> dict[str, pd.DataFrame]:
    """Returns the tables that are saved beside the page, by name."""
    return {
        "search_cells": outcome_table(searches.outcomes),
        "search_trials": _trials_frame(searches.cells),
        "search_time_to_pair": searches.curve,
        "search_pruning": searches.correlations,
    }


def search_sections(searches: Searches) -> list[Section]:
    """Returns the sections on what searches found, what that cost, their trials, and what pruning did."""
    found, cost, trials = _verdict_section(searches.outcomes), _cost_section(searches), _trial_section(searches)
    return [found, cost, trials, *_pruning_sections(searches)]


def verdict_statement(outcomes: Sequence[Outcome]) -> str:
    """Says in one sentence what the searches found."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    parts = [f"{counts[verdict]} {words}" for verdict, words in _OTHER_VERDICTS.items() if counts[verdict]]
    others = f"; {', '.join(parts)}" if parts else ""
    confirmed = counts[SearchVerdict.CATASTROPHIC]
    shown = sum(outcome.finding is not None and bool(outcome.finding.num_shown) for outcome in outcomes)
    known = any(outcome.finding and outcome.finding.num_shown is not None for outcome in outcomes)
    evidence = f" The test images show a catastrophic pair in {shown}." if known else ""
    many = any(outcome.finding and outcome.finding.num_seeds > 1 for outcome in outcomes)
    seeds = "every seed" if many else "the one seed of the search"
    return f"In {confirmed} of {len(outcomes)} searched cells the pair is catastrophic on {seeds}{others}.{evidence}"


def _verdict_section(outcomes: Sequence[Outcome]) -> Section:
    one = max(
        (outcome for outcome in outcomes if outcome.chance_high is not None),
        key=lambda outcome: outcome.num_drawn or 0,
        default=None,
    )
    in_words = ""
    if one:
        in_words = (
            f" Where {one.num_drawn} draws found nothing, a draw of this search finds a pair with a chance below "
            f"{pct(one.chance_high, digits=1)} % (one-sided, 95 % confidence; 1 - 0.05^(1/{one.num_drawn}), as if they "
            "were independent). Draws are trials whose point the sampler chose and that ran to their end."
        )
    return Section(
        title="Search: what it found",
        statement=verdict_statement(outcomes),
        caption="A search looks for a pair that is catastrophic on validation; the verdict is given on test, over its "
        "seed and the seeds that repeat the pair. Drop and gap (pp) are means over seeds with Student's 95 % interval, "
        "given the white box that all of them share; those of a single pair have the one-sided bounds that its images "
        "show. The share of seeds has Wilson's interval. The pair "
        f"of the search's own seed was chosen among many, the repeated ones were not.{in_words}",
        tables=(verdict_table(outcomes),),
    )


def _cost_section(searches: Searches) -> Section:
    curve, outcomes = searches.curve, searches.outcomes
    statement = ""
    if len(curve):
        num_found = sum(outcome.trials_to_first is not None for outcome in outcomes)
        statement = (
            f"{num_found} of {len(outcomes)} searched cells have a hit on validation; the median cell needs "
            f"{median_text(curve)}."
        )
    alt = "Share of searched cells without a hit over training epochs, with its 95 % band."
    return Section(
        title="Search: what it cost",
        statement=statement,
        caption="Trials count in the order in which they ended, pruned and failed ones with what they ran; of "
        "device-seconds, a GPU that trials share counts by their share. A search that ended without a hit is "
        "censored: it counts for as long as it lasted (Kaplan-Meier; band by Greenwood's variance, log-log scale). "
        "'> ' stands before what was spent without a hit.",
        pictures=pictures(("figure_search_cost", alt, figure_search_cost(curve))),
        tables=(cost_table(outcomes), *([curve_table(curve)] if len(curve) > 1 else [])),
    )


def _trial_section(searches: Searches) -> Section:
    records = [record for cell in searches.cells for record in cell.records]
    space, objective = searches.space, searches.objective
    importance, word = importance_table(records, space, objective), objective_word(objective)
    drop = "Parity gap against drop on validation for every trial of the searched cells."
    history = f"{word.capitalize()} of every trial of the searched cells, and the best so far."
    return Section(
        title="Search: all trials",
        statement=search_statement(records, objective),
        caption=f"Each is a row of the table of trials.{MEANING[objective]}",
        pictures=pictures(
            ("figure_search", drop, figure_search(records)),
            ("figure_history", history, figure_history(records, objective)),
        ),
        tables=filled(importance),
    )


def _pruning_sections(searches: Searches) -> list[Section]:
    """Returns a section where trials were ended early, or where there is a correlation to judge that by."""
    pruned = pruned_trials(searches.cells)
    known = searches.correlations[searches.correlations["reason"] == ""]
    if not pruned and known.empty:
        return []
    statement = "No trial was ended early"
    if pruned:
        saved = seconds_text(sum(each.saved_device_seconds for _, each in pruned))
        trials = "1 trial was" if len(pruned) == 1 else f"{len(pruned)} trials were"
        statement = f"{trials} ended early, which saved about {saved} of device time"
    if len(known):
        row = known.to_dict("records")[-1]
        where = "within the cells" if row["cell"] == ALL else f"in {row['cell']}"
        statement += f"; ranks at half of the epochs agree with the final ones by {row['spearman']:.2f} {where}"
    return [
        Section(
            title="Search: pruning",
            statement=f"{statement}.",
            caption=f"Safe where the {objective_word(searches.objective)} at half of the epochs ranks trials as the "
            "final one does (Spearman near "
            "1). Trials that were ended have no final objective: the correlation is that of the better half, and "
            "rather too low. 95 % interval by bootstrap over trials. Saved: epochs not run, at the median time of the "
            "trial's own.",
            tables=filled(correlation_table(searches.correlations, searches.cells, searches.objective)),
        )
    ]


def _trials_frame(cells: Sequence[SearchedCell]) -> pd.DataFrame:
    """A row per trial of a search and per confirmation: what it is, its point, what it took, and its accuracies."""
    has_starts = any(each.trial.started_from for cell in cells for each in (*cell.trials, *cell.confirmations))
    rows = [
        {
            "cell": cell.cell.cell_id,
            "uid": each.trial.node.uid,
            "trial": each.number,
            "seed": each.trial.node.seed,
            "is_confirmation": each.trial.is_confirmation,
            "state": str(each.trial.state),
            "point_from": each.trial.point_from,
            **({"started_from": each.trial.started_from} if has_starts else {}),
            **(each.trial.point or dict.fromkeys(LossSpace.model_fields)),
            "epochs_run": len(each.rows),
            "epochs": each.num_epochs,
            "device_seconds": each.device_seconds,
            "saved_device_seconds": each.saved_device_seconds,
            "ended_ms": each.ended_ms,
            "qualifies": each.is_qualifying,
            **{name: getattr(each.record, name) if each.record else None for name in _NUMBERS},
        }
        for cell in cells
        for each in (*cell.trials, *cell.confirmations)
    ]
    table = pd.DataFrame(rows, dtype=object)
    if table["lag"].isna().all():
        table = table.drop(columns="lag")
    texts = ["cell", "uid", "state", "point_from", "profits", "batch_norm", *(["started_from"] if has_starts else [])]
    types = {**dict.fromkeys(texts, "str"), "range_gradient": "boolean", "is_confirmation": "bool", "qualifies": "bool"}
    types |= dict.fromkeys(("trial", "seed", "epochs_run", "epochs", "ended_ms"), "int64")
    table[texts] = table[texts].map(lambda text: "" if is_missing(text) else text)
    return table.astype(types | {name: "float64" for name in table.columns if name not in types})


_NUMBERS = (
    "objective",
    "lag",
    *(f"{split}{name}" for split in ("validation_", "") for name in ("accuracy_fp", "accuracy_delta", "parity_gap")),
)
