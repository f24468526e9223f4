"""What a report says of searches that maximize the lag: one word everywhere, and the drop where results lack it."""

from pathlib import Path

import pytest

from orchestrator.plan import Node
from orchestrator.reports.search.sections import Searches, search_files, search_sections, searches_of
from orchestrator.reports.search.trials import trials_section
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import read_trials
from orchestrator.store.store import Store
from tests.orchestrator.search_driver import SearchDriver, search_plan

LAGS = (-0.9, -0.2, 0.6, 0.1)


def quality(node: Node) -> tuple[float, float]:
    """By the accuracies all trials are alike, and two points beyond parity, which costs 20."""
    return 0.03, 0.2


def slopes(node: Node) -> tuple[float, float]:
    return LAGS[node.trial_number], 0.1


def searches_of_sweep(tmp_path: Path, *, with_lag: bool) -> Searches:
    plan = search_plan(budgets=(82,), epochs=2, trials=3, keep_searching=True, pruner="none", objective="lag")
    store = Store(str(tmp_path / "s"))
    SearchDriver(plan, store, tmp_path / "log", quality, slopes if with_lag else None).run()
    found = searches_of(plan, read_trials(Snapshot(plan, store)))
    assert found is not None
    return found


@pytest.mark.parametrize("with_lag", [True, False])
def test_a_report_names_and_shows_what_the_studies_maximize(tmp_path: Path, with_lag: bool) -> None:
    searches = searches_of_sweep(tmp_path, with_lag=with_lag)
    assert searches.objective == ("lag" if with_lag else "drop")
    trials = next(section for section in search_sections(searches) if section.title == "Search: all trials")
    of_search = [each.trial for each in searches.cells[0].trials]
    (table,) = trials_section(of_search, searches, storage="", runs={}).tables
    headers = [column.header for column in table.columns]
    word, other = ("lag", "objective") if with_lag else ("objective", "lag")
    assert word in headers
    assert other not in headers
    shown = [float(row[headers.index(word)].text) for row in table.rows]
    assert shown == pytest.approx([-110, -40, 40, -10] if with_lag else [0] * 4, abs=1e-4)
    assert ("Lag: how far" in trials.caption) is with_lag
    frame = search_files(searches)["search_trials"]
    assert (
        list(frame["lag"]) == pytest.approx([lag - 0.2 for lag in LAGS], abs=1e-6) if with_lag else "lag" not in frame
    )
    correlation = search_files(searches)["search_pruning"].iloc[0]
    assert correlation["num_trials"] == 4
    # After the only epoch before the last one all trials had their final lag.
    assert correlation["spearman"] == pytest.approx(1.0) if with_lag else correlation["reason"]
