"""The program still says what it said: plans with all uids, and everything of a small sweep of made-up numbers.

`tests/golden/storage/` holds a sweep that an earlier version wrote (`tests/golden/make_storage.py`): done, pruned,
diverged, failed, skipped and confirmed trials, refused cells, all analyses, and a second sweep that was interrupted.
The test asks the command line about a copy of it, so it also checks that old storages stay readable. It compares with
`tests/golden/expected/`, which only `python -m tests.golden.snapshot` writes. Whoever renames a word on purpose says so
in `CHANGED_WORDS`; the golden files stay. Where screens are drawn anew, the files are written again, and whoever does
so reads the whole difference first: no uid and no number may be in it.
"""

import difflib
import json

import pytest

from tests.golden.snapshot import Texts, canonical_json, read_expected, take

# What was renamed on purpose since the golden files were written: (before, now). Applied one after the other to the
# golden texts before they are compared, wherever they occur: keys, tags, headers of CSV, columns of Parquet, sentences,
# and the names of files. So give as much context as tells the word from others, e.g.
#     ('"spared"', '"skipped"'), ("num_spared", "num_skipped"), (" spared", " skipped")
# Names of trials and sweeps are safe only as long as no word here is a part of them. Spaces between words count as one,
# but where a table of the terminal breaks a line is not hidden: `("0 of 3\nseeds", "0 of 3 seeds")` tells it.
CHANGED_WORDS: tuple[tuple[str, str], ...] = ()

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
