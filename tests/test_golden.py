"""The program still says what it said: plans with all uids, and everything of a small sweep of made-up numbers.

`tests/golden/storage/` holds a sweep that an earlier version wrote (`tests/golden/make_storage.py`): done, pruned,
diverged, failed, skipped and confirmed trials, refused cells, all analyses, and a second sweep that was interrupted.
The test asks the command line about a copy of it, so it also checks that old storages stay readable. It compares with
`tests/golden/expected/`, which only `python -m tests.golden.snapshot` writes. Whoever renames a word on purpose says so
in `CHANGED_WORDS`; the golden files stay.
"""

import difflib
import json

import pytest

from orchestrator.reports.analyses.indicators import LIMIT
from tests.golden.one_truth import WORDS
from tests.golden.snapshot import Texts, canonical_json, read_expected, take

PAGES_STYLE = (
    ".pages { margin: .8rem 0 0; font-size: .92rem; color: var(--muted); overflow-wrap: anywhere; }\n"
    ".pages a { color: inherit; }"
)


def commands(sweep: str) -> dict[str, str]:
    """What opens a sweep in MLflow, by what it shows."""
    return {
        "charts of all pairs": f"dptq-sweep ui {sweep} --storage <storage>",
        "robust beside detrimental": f"dptq-sweep ui {sweep} --compare --storage <storage>",
    }


def in_markdown(sweep: str) -> str:
    return "\n".join(f"- In MLflow, {what}: `{command}`" for what, command in commands(sweep).items())


def in_html(sweep: str) -> str:
    shown = " \u00b7 \n".join(f"{what} <code>{command}</code>" for what, command in commands(sweep).items())
    return f'  <p class="pages">In MLflow:\n{shown}\n  </p>'


# What was renamed on purpose since the golden files were written: (before, now). Applied one after the other to the
# golden texts before they are compared, wherever they occur: keys, tags, headers of CSV, columns of Parquet, sentences,
# and the names of files. So give as much context as tells the word from others, e.g.
#     ('"spared"', '"skipped"'), ("num_spared", "num_skipped"), (" spared", " skipped")
# Names of trials and sweeps are safe only as long as no word here is a part of them. Spaces between words count as one,
# but where a table of the terminal breaks a line is not hidden: `("0 of 3\nseeds", "0 of 3 seeds")` tells it.
CHANGED_WORDS: tuple[tuple[str, str], ...] = (
    # One word for a trial that is begun and does not run: that of `status`.
    (" unfinished", " interrupted"),
    (">unfinished<", ">interrupted<"),
    # One headline of an error: the first line of error.txt, for reports and MLflow, too.
    ('"dptq.error": "search_spaces.errors.', '"dptq.error": "'),
    ('<td class="wraps">search_spaces.errors.', '<td class="wraps">'),
    (r"| failed | search\_spaces.errors.", "| failed | "),
    ("gave nan\n\nRuntimeError: the site layer1.conv1 gave nan\n</td>", "gave nan</td>"),
    ("gave nan  RuntimeError: the site layer1.conv1 gave nan |", "gave nan |"),
    # The field's words: a trial is skipped, a recipe is as published, a drop has mitigations.
    ("spared", "skipped"),
    ("literal", "as-published"),
    (">cure<", ">mitigation<"),
    ("| cure |", "| mitigation |"),
    ("without a pair", "without a hit"),
    ("have a pair on validation", "have a hit on validation"),
    # There are three more analyses: twins, repairs and adverse inputs.
    ('"done": 46,\n  "total": 72', '"done": 46,\n  "total": 105'),
    ("46/72 analyses", "46/105 analyses"),
    # `ls` counts pruned trials among those that are done, as `status` does.
    ('"num_done": 25,\n  "num_trials": 46', '"num_done": 27,\n  "num_trials": 46'),
    # `status` names trials that other sweeps train.
    ('\n "eta_seconds"', '\n "elsewhere": [],\n "eta_seconds"'),
    # Which indicators cannot work.
    ("among the signals of its group.", f"among the signals of its group. {LIMIT}"),
    # Reports say where MLflow shows the sweep.
    ("the budget: 4 cells.\n\n", f"the budget: 4 cells.\n\n{in_markdown('golden')}\n\n"),
    ("the trials that are done.\n\n", f"the trials that are done.\n\n{in_markdown('begun')}\n\n"),
    ("the budget: 4 cells.</p>\n", f"the budget: 4 cells.</p>\n{in_html('golden')}\n"),
    ("the trials that are done.</p>\n", f"the trials that are done.</p>\n{in_html('begun')}\n"),
    (".progress.complete {", f"{PAGES_STYLE}\n.progress.complete {{"),
    *WORDS,
)

MAX_LINES = 150
"""Of a file's difference that are shown."""


def changed(text: str) -> str:
    for before, now in CHANGED_WORDS:
        text = text.replace(before, now)
    return text


def expected_texts() -> Texts:
    """The golden texts in today's words, ordered by them where order is by words."""
    texts = {changed(name): changed(text) for name, text in read_expected().items()}
    for name, text in texts.items():
        if name.endswith(".json"):
            texts[name] = canonical_json(text)
        if name.endswith(".list"):
            texts[name] = "".join(sorted(text.splitlines(keepends=True)))
    return texts


def difference(name: str, before: str, now: str) -> str:
    if before == now:
        return ""
    names = (f"expected/{name}", f"now/{name}")
    lines = list(difflib.unified_diff(before.splitlines(), now.splitlines(), *names, lineterm=""))
    more = [f"... and {len(lines) - MAX_LINES} lines more"] if len(lines) > MAX_LINES else []
    return "\n".join([*lines[:MAX_LINES], *more])


@pytest.mark.slow
def test_plans_reports_status_and_runs_are_what_they_were() -> None:
    expected, now = expected_texts(), take()

    differences = [difference(name, expected.get(name, ""), now.get(name, "")) for name in sorted({*expected, *now})]

    found = [each for each in differences if each]
    assert not found, f"{len(found)} of {len(expected)} texts differ\n\n" + "\n\n".join(found)


def test_golden_trials_have_other_numbers_on_the_test_split() -> None:
    pairs = json.loads(read_expected()["report-golden.json"])["pairs"]
    for name in ("white_box", "fp", "q", "delta"):
        assert all(pair[f"accuracy_{name}"] != pair[f"validation_accuracy_{name}"] for pair in pairs)
    assert len({pair["accuracy_q"] for pair in pairs}) == len(pairs)
