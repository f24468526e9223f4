"""`make mutants`: small changes of the code, each of which should fail a test, and a table of those that did not."""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from tests.mutants import worker
from tests.mutants.accepted import read_accepted
from tests.mutants.green import KNOWN, check_green
from tests.mutants.rooms import ROOMS, ROOT, tests_of
from tests.mutants.sample import Mutant, sample
from tests.mutants.table import Judged, survivors_text, table

FILES = 14
"""Test files at most that are looked at for a module, the nearest ones."""
SECONDS = 60.0
"""Processor seconds that the tests of one mutant may take on unchanged code; further files are left out."""
OUTCOMES = KNOWN.with_name("outcomes.json")
BARS = {"training": 0.90, "all": 0.85}
"""Shares to be noticed of what is not accepted."""

Tried = tuple[Mutant, worker.Outcome]


def main() -> None:
    """Samples, checks that the tests pass as they are, tries every mutant, and says what went unnoticed."""
    options, accepted = _options(), read_accepted()
    seed, minutes, before = _last_run() if options.again or options.survivors else (options.seed, 0.0, [])
    if not options.again:
        mutants = [mutant for mutant, outcome in before if not outcome.has_noticed]
        if not options.survivors:
            mutants = [mutant for mutant in sample(options.size, seed) if mutant.room in options.rooms]
        began = time.monotonic()
        tried = dict(before) | dict(_try_all(mutants, seed, options.workers))
        before, minutes = list(tried.items()), minutes + (time.monotonic() - began) / 60
        plain = [(asdict(mutant), asdict(outcome)) for mutant, outcome in before]
        OUTCOMES.write_text(json.dumps({"seed": seed, "minutes": minutes, "tried": plain}, indent=1))
    reasons = [next((entry.reason for entry in accepted if entry.covers(mutant)), "") for mutant, _ in before]
    judged = [Judged(*each, reason) for each, reason in zip(before, reasons, strict=True)]
    print(survivors_text(judged), table(judged, seed, minutes), sep="\n")
    sys.exit(_is_below_a_bar(judged))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=lambda text: int(text or random.randrange(100_000)), default="")
    parser.add_argument("--size", type=int, default=150, help="mutants, over all rooms")
    parser.add_argument("--again", action="store_true", help="tell the last run again, by accepted.yaml as it is")
    parser.add_argument("--survivors", action="store_true", help="try again what the last run did not notice")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    return parser.parse_args()


def _workers(number: int, copies: str) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(number, get_context("spawn"), initializer=worker.start, initargs=(copies,))


def _last_run() -> tuple[int, float, list[Tried]]:
    """Returns the seed of the last run, its minutes, and what it tried."""
    told = json.loads(OUTCOMES.read_text())
    return told["seed"], told["minutes"], [(Mutant(**m), worker.Outcome(**outcome)) for m, outcome in told["tried"]]


def _try_all(mutants: Sequence[Mutant], seed: int, workers: int) -> list[Tried]:
    """Checks the tests on the code as it is, and runs them against every mutant."""
    began = time.monotonic()
    tests = {mutant.module: tests_of(mutant.module, ROOMS[mutant.room].oracles)[:FILES] for mutant in mutants}
    print(f"SEED={seed}: {len(mutants)} mutants of {len(tests)} modules", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as copies, _workers(workers, copies) as pool:
        if (shared := ROOT.parent / "shared").is_dir():
            Path(copies, shared.name).symlink_to(shared)  # real data and texts, which tests look for there
        green = check_green(pool, sorted({test for several in tests.values() for test in several}))
        minutes = (time.monotonic() - began) / 60
        print(f"Unchanged, all are green: {len(green)} test files in {minutes:.1f} minutes", flush=True)
        waiting: dict[Future[worker.Outcome], Mutant] = {}
        for mutant in mutants:
            chosen = _within(tests[mutant.module], green)
            waiting[pool.submit(worker.run_mutant, mutant, chosen, _limit(chosen, green))] = mutant
        tried = []
        for number, future in enumerate(as_completed(waiting), start=1):
            tried.append((waiting[future], future.result()))
            print(f"{number:4}/{len(mutants)} {Judged(*tried[-1]).line()}", flush=True)
    return tried


def _within(tests: Sequence[str], green: dict[str, worker.Usual]) -> list[str]:
    """Returns the first test files that run within the seconds of a mutant, and the first of all in any case."""
    chosen: list[str] = []
    left = SECONDS
    for test in tests:
        if test in green and (not chosen or green[test]["processor"] <= left):
            chosen.append(test)
            left -= green[test]["processor"]
    return chosen


def _limit(tests: Sequence[str], green: dict[str, worker.Usual]) -> worker.Usual:
    """Returns when tests are late: three times what they usually take; a busy machine may take longer by the clock."""
    processor, wall = (sum(green[test][name] for test in tests) for name in ("processor", "wall"))
    return {"processor": 10 + 3 * processor, "wall": 60 + 6 * wall}


def _is_below_a_bar(judged: Sequence[Judged]) -> bool:
    counted = [one for one in judged if not one.is_accepted()]
    groups = {"all": counted, "training": [one for one in counted if one.mutant.room == "training"]}
    return any(group and sum(map(Judged.is_noticed, group)) < BARS[name] * len(group) for name, group in groups.items())


if __name__ == "__main__":
    main()
