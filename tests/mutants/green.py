"""Test files that pass on the code as it is: seen once, and remembered while neither the code nor the file changes."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.mutants import worker
from tests.mutants.rooms import ROOT, tracked

KNOWN = ROOT / ".mutants" / "green.json"
FILE_LIMIT: worker.Usual = {"processor": 60.0, "wall": 400.0}
"""When a test file is not waited for."""


def check_green(pool: ProcessPoolExecutor, tests: Sequence[str]) -> dict[str, worker.Usual]:
    """Returns what every test file usually takes; those without a test to run, and the slowest, are not among them.

    Raises:
        SystemExit: One of them fails on the code as it is.
    """
    code = _digest([path for path in tracked() if not Path(path).name.startswith("test_") and not _is_ours(path)])
    keys = {test: f"{test} {_digest([test])} {code}" for test in tests}
    known: dict[str, worker.Usual | None] = json.loads(KNOWN.read_text()) if KNOWN.is_file() else {}
    waiting = {pool.submit(worker.run_unchanged, test, FILE_LIMIT): test for test in tests if keys[test] not in known}
    red = []
    for future in as_completed(waiting):
        test, outcome = waiting[future], future.result()
        if outcome.code not in (0, worker.NOTHING_RAN) and not outcome.is_late:
            red.append(f"{outcome.by or test} ({outcome.code}):\n{outcome.tail}")
            continue
        known[keys[test]] = {"wall": outcome.seconds, "processor": outcome.processor} if outcome.code == 0 else None
        KNOWN.parent.mkdir(exist_ok=True)
        KNOWN.write_text(json.dumps(known, indent=1))
    if red:
        raise SystemExit("\n\n".join(("Tests fail without any mutant:", *red)))
    return {test: usual for test in tests if (usual := known[keys[test]])}


def _is_ours(path: str) -> bool:
    return path.startswith(("tests/mutants/", "docs/"))


def _digest(paths: Sequence[str]) -> str:
    content = hashlib.sha256()
    for path in paths:
        content.update(path.encode() + b"\0" + (ROOT / path).read_bytes() + b"\0")
    return content.hexdigest()[:16]
