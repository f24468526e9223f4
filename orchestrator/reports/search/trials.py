"""Every trial of a sweep in one table: what it ran, what came of it, and what opens its files and its run."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.reports.document import Section
from orchestrator.reports.layout import Column, Field, Fields, TextTable, judged, pct, pp, text_table, with_note
from orchestrator.reports.search.importance import objective_word, pareto_front
from orchestrator.reports.search.sections import MEANING, Searches
from orchestrator.results.pairs import record_of
from orchestrator.results.searches import SearchTrial
from orchestrator.results.time_to_pair import seconds_text
from orchestrator.results.trials import Trial, read_rows
from orchestrator.search.pair_choice import choose
from orchestrator.store.folder import EPOCHS, LOG, PREDICTIONS, RESULT
from orchestrator.store.states import State
from search_spaces.names import OBJECTIVES, Goal, Objective
from search_spaces.objective import ACCURACIES, accuracies_of

TITLE = "Trials"
LINKED = {"result": RESULT, "epochs": EPOCHS, "predictions": PREDICTIONS, "log": LOG}
"""Files of a trial that a page links to, by what they are called there."""
_CAPTION = (
    "Every trial with its uid, its files (where the page lies in its storage) and the command that runs it again. "
    "Accuracies in percent, delta and gap in percentage points."
)
_SEARCHED = (
    " The chosen trial of a searched cell has the smallest parity gap on validation of those whose drop there is not "
    "significantly below the best; the test split is only reported. On the front: no other trial of the cell beats it "
    "in both gap and drop on validation."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Searched:
    """What the search of its cell says of a trial."""

    each: SearchTrial
    marks: tuple[str, ...]
    """What the trial is to its cell."""
    others: tuple[SearchTrial, ...]
    """The trials of its cell."""
    objective: Objective

    def reached(self) -> tuple[str, ...]:
        """FP, delta, gap and objective on validation; of a pruned trial those after its last epoch."""
        each = self.each
        if each.record:
            seen = {name: getattr(each.record, f"validation_{name}") for name in ACCURACIES}
            return (*_differences(seen), pct(each.record.scored(self.objective)))
        if each.trial.state is not State.PRUNED or not each.rows:
            return ("",) * 4
        last = each.rows[-1]
        return (*_differences(accuracies_of(last, "validation")), pct(each.scored_at(last["epoch"], self.objective)))

    def ended(self) -> str:
        """Why it ended before its last epoch, in lines; nothing if it did not."""
        each = self.each
        if each.stopped_on_hit:
            return "stopped on its hit"
        if each.trial.state is not State.PRUNED:
            return ""
        then = [other.scored_at(len(each.rows), self.objective) for other in self.others if other is not each]
        best = max((value for value in then if value is not None), default=None)
        lines = [f"best of others then {pct(best)}"] if best is not None else []
        return "\n".join([*lines, f"saved {seconds_text(each.saved_device_seconds)}"])


def trials_section(
    trials: Sequence[Trial], searches: Searches | None, *, storage: str, runs: Mapping[str, str]
) -> Section:
    """Returns the section with a row per trial, but for those that their searches skipped.

    Args:
        trials: Of the sweep.
        searches: Of its cells; None where no cell is searched.
        storage: Its path or URI, for commands.
        runs: Addresses of MLflow's runs by uid; none where no server has them.
    """
    shown = _by_cell([trial for trial in trials if trial.state is not State.SKIPPED])
    num_skipped = len(trials) - len(shown)
    caption = _CAPTION + (_SEARCHED + MEANING[searches.objective] if searches else "")
    caption += f" Skipped by their searches: {num_skipped} trials." if num_skipped else ""
    return Section(title=TITLE, caption=caption, tables=(_table(shown, searches, storage, runs),))


def _by_cell(trials: Sequence[Trial]) -> list[Trial]:
    """Puts the trials of a cell together, where its first one stands in the plan."""
    first: dict[str, int] = {}
    for place, trial in enumerate(trials):
        first.setdefault(trial.node.cell_id or trial.node.uid, place)
    return sorted(trials, key=lambda trial: first[trial.node.cell_id or trial.node.uid])


def _table(trials: Sequence[Trial], searches: Searches | None, storage: str, runs: Mapping[str, str]) -> TextTable:
    objective = searches.objective if searches else OBJECTIVES[0]
    fields, ranges = (searches.space.fields, searches.space.ranges) if searches else ((), ())
    columns = (
        Column.text("trial"),
        *(Column(name, "Point", is_number=name in ranges) for name in fields),
        *(Column(name, "Validation") for name in ("FP", "delta", "gap")),
        Column(objective_word(objective), "Validation", is_optional=True),
        *(Column(name, "Test", is_key=name == "delta") for name in ("FP", "delta", "gap")),
        Column.text("verdict", "Test", is_key=True),
        Column("epochs"),
        Column.name("open"),
    )
    known = {found.each.trial.node.uid: found for found in _searched(searches)}
    rows: Iterator[Fields] = (
        (
            _name(trial, searched),
            *(_value((trial.point or {}).get(name) if searched else None) for name in fields),
            *(searched.reached() if searched else (*_measured(trial, "validation"), "")),
            *_measured(trial, "test"),
            _became(trial, searched),
            _epochs(trial),
            _open(trial, storage, runs.get(trial.node.uid, "")),
        )
        for trial in trials
        for searched in [known.get(trial.node.uid)]
    )
    return replace(text_table("", columns, rows), is_cards=True)


def _searched(searches: Searches | None) -> Iterator[_Searched]:
    for cell in searches.cells if searches else ():
        chosen, front = choose(cell.records), [record.uid for record in pareto_front(cell.records)]
        for each in (*cell.trials, *cell.confirmations):
            record = each.record
            marks = ["chosen"] if record and record is chosen else []
            marks += ["on the front"] if record and record.uid in front else []
            assert searches is not None
            yield _Searched(each=each, marks=tuple(marks), others=cell.trials, objective=searches.objective)


def _name(trial: Trial, searched: _Searched | None) -> Field:
    lines = [trial.node.uid, *(searched.marks if searched else ())]
    lines += [f"from {trial.point_from}"] if searched else []
    lines += [f"seed {trial.node.seed}"] if trial.is_confirmation else []
    lines += [f"started from {trial.started_from}"] if trial.started_from else []
    return Field(trial.node.name, note="\n".join(lines), anchor=trial.node.uid)


def _value(value: object) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _differences(accuracies: Mapping[str, float]) -> tuple[str, str, str]:
    white_box, fp, q = (accuracies[name] for name in ACCURACIES)
    return pct(fp), pp(q - fp), pp(white_box - fp)


def _measured(trial: Trial, split: str) -> tuple[str, str, str]:
    """FP, delta and gap of a trial that is done; of a network that is no pair its accuracy."""
    if trial.node.cell and trial.metrics:
        return _differences(accuracies_of(trial.metrics, split))
    return pct(trial.metrics.get(f"{split}/accuracy")), "", ""


def _became(trial: Trial, searched: _Searched | None) -> Field:
    """The verdict on a pair; the state of whatever has none."""
    if trial.state is not State.DONE or trial.node.cell is None:
        field = Field(str(trial.state))
    elif trial.node.cell.goal is Goal.ROBUST:
        field = Field("robust")
    else:
        record = record_of(trial, trial.node.cell)
        field = judged(record.verdict, record.evidence)
    return with_note(field, searched.ended() if searched else "")


def _epochs(trial: Trial) -> Field:
    """Epochs that it ran of those planned, and its time."""
    num_run = len(read_rows(trial, ("epoch",)))
    took = "" if trial.seconds is None else seconds_text(trial.seconds)
    return Field(f"{num_run} of {trial.node.recipe.epochs}" if num_run else "", note=took)


def _open(trial: Trial, storage: str, run: str) -> Field:
    """What opens its files, which lie two folders above the page, its run, and the trial itself."""
    place, files = f"../../{trial.node.stage}/{trial.node.uid}", trial.folder.folder.stamps()
    links = [(word, f"{place}/{name}") for word, name in LINKED.items() if name in files]
    links += [("MLflow", run)] if run.startswith("http") else []
    again = shlex.join(["dptq-sweep", "reproduce", trial.node.uid, "--storage", storage])
    return Field("", links=tuple(links), command=again if trial.state is State.DONE else "")
