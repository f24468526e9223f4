"""What the program says of the sweeps in `tests/golden/storage/`, without what differs between runs and machines.

    python -m tests.golden.snapshot

writes it to `tests/golden/expected/`, where `tests/test_golden.py` expects it; no test ever writes there. Everything is
asked on the command line or read from files and MLflow, so that modules can move.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities import Run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXPECTED = HERE / "expected"
PACKED = re.compile(r"(plan-\w+|mlflow)\.json|.*\.html")
"""Files that are kept compressed: thousands of lines that nobody reads before they differ."""
VARYING = ("dptq-sweep", "python", "torch", "timm", "numpy", "numba", "ray", "optuna", "mlflow", "machine")
"""Facts of a report and tags of runs whose values depend on the machine."""
COMMIT, NOTE, NOTE_MARK = "mlflow.source.git.commit", "mlflow.note.content", "dptq.note"
STORAGE_ID = "dptq.storage"
"""Tag that a storage of before it gets anew in every copy."""
FIXED_BEFORE_MS = 1_710_000_000_000
"""Times in the storage are of November 2023; later ones are those of the test itself."""

Texts = dict[str, str]
"""By the names of files."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A copy of the storage in an empty folder, where commands run."""

    folder: Path

    @property
    def storage(self) -> Path:
        """Where the copy is."""
        return self.folder / "storage"

    def copy_storage(self) -> None:
        """Makes the copy."""
        shutil.copytree(HERE / "storage", self.storage)
        for grid in HERE.glob("*.yaml"):
            shutil.copy(grid, self.folder)

    def ask(self, line: str) -> str:
        """Runs a command of `dptq-sweep`; returns its exit code and what it prints."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *line.split()],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode not in (0, 1) or not done.stdout:
            raise RuntimeError(f"dptq-sweep {line} exits with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        if line.endswith("--json"):
            return canonical_json(self.without_paths(done.stdout))
        # Columns get as wide as their words: a word that is renamed moves the others.
        words = (line.replace("\N{BOX DRAWINGS LIGHT HORIZONTAL}", "").split() for line in done.stdout.split("\n"))
        return self.without_paths("\n".join([f"exit code {done.returncode}", *map(" ".join, words)]))

    def without_paths(self, text: str) -> str:
        """Replaces the folder, also as Markdown and HTML write it, and rounds numbers."""
        for path in (str(self.storage), str(self.storage).replace("_", "\\_")):
            text = text.replace(path, "<storage>")
        assert str(self.folder) not in text
        return rounded(text)


def take() -> Texts:
    """Runs all commands, in a minute; returns what came of them by the names of the files in `expected/`."""
    with tempfile.TemporaryDirectory(prefix="golden-") as folder, ThreadPoolExecutor(2) as threads:
        lanes = [Lane(Path(folder, name)) for name in ("asks", "resumes")]
        for lane in lanes:
            lane.copy_storage()
        asked, resumed = threads.submit(_ask_all, lanes[0]), threads.submit(_resume, lanes[1])
        return {**asked.result(), **resumed.result()}


def _ask_all(lane: Lane) -> Texts:
    """Asks everything that needs no MLflow."""
    failed = _uid_of_failed(lane.storage)
    asked = {
        "status-golden.json": "status golden --json",
        "status-golden.txt": "status golden --price-per-hour 2.5",
        "status-begun.json": "status --json",  # the sweep that was launched last
        "logs.txt": f"logs {failed}",
        "ls.json": "ls --json",
        "report-golden.json": "report golden --json",
        "report-golden.txt": "report golden",
        "report-begun.txt": "report begun",
        "plan-golden.json": "plan --grid golden.yaml --json",
    }
    # The storage is an option of all of them; --json stays last.
    texts = {name: lane.ask(_with_storage(line)) for name, line in asked.items()}
    for name in ("golden", "begun"):
        folder = lane.storage / "sweeps" / name
        texts[f"{name}/files.list"] = _listing(folder)
        for path in sorted([*folder.rglob("*.csv"), *folder.glob("*.md"), *folder.glob("*.html")]):
            text = lane.without_paths(_without_facts(path.read_text()))
            texts[f"{name}/{path.relative_to(folder)}"] = text
    return texts


def _resume(lane: Lane) -> Texts:
    """Asks for plans, then resumes a sweep of which nothing is left to do: all of it goes to MLflow."""
    texts = {f"plan-{name}.json": lane.ask(f"plan --grid {name} --json") for name in ("full", "digits", "families")}
    texts["resume.txt"] = lane.ask("resume golden --storage storage")
    client = MlflowClient(tracking_uri=f"sqlite:///{lane.storage}/mlflow.db")
    texts["mlflow.json"] = canonical_json(lane.without_paths(json.dumps(list(_runs(client, "golden")))))
    return texts


def _with_storage(line: str) -> str:
    is_json = line.endswith(" --json")
    return line.removesuffix(" --json") + " --storage storage" + (" --json" if is_json else "")


def _uid_of_failed(storage: Path) -> str:
    """Returns a trial that failed and has a log."""
    return min(path.parent.name for path in (storage / "pair").glob("*/log.txt"))


def _listing(folder: Path) -> str:
    """Returns the files of a folder, those of Parquet with their columns."""
    lines = []
    for path in folder.rglob("*"):
        columns = ""
        if path.suffix == ".parquet":
            columns = ": " + ", ".join(f"{field.name} {field.type}" for field in pq.read_schema(path))
        if path.is_file():
            lines.append(f"{path.relative_to(folder)}{columns.replace('large_string', 'string')}")
    return "".join(f"{line}\n" for line in sorted(lines))


def _without_facts(text: str) -> str:
    """Drops pictures, versions, and what only places things, from a page."""
    placed = (
        *(r"<nav.*?</nav>\n", r"<details><summary>(?=<h2>)", "(?<=</h2>)</summary>", " *</details>(?=</section>)"),
        *(r'(?<=<section) id="[^"]*"', r' data-label="[^"]*"', " data-key", '(?<=<table) class="cards"'),
    )
    text = re.sub("|".join(placed), "", text, flags=re.DOTALL)
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>|data:image[^\"]*", "", text, flags=re.DOTALL)
    text = re.sub(rf"^- {re.escape(COMMIT)}: .*\n\n?", "", text, flags=re.MULTILINE)
    text = re.sub(rf"\s*<dt>{re.escape(COMMIT)}</dt>\s*<dd>.*?</dd>", "", text)
    names = "|".join(map(re.escape, VARYING))
    text = re.sub(rf"(<dt>(?:{names})</dt>\s*<dd>).*?(</dd>)", r"\1<varies>\2", text)
    return re.sub(rf"^- ({names}): .*$", r"- \1: <varies>", text, flags=re.MULTILINE)


def _runs(client: MlflowClient, experiment: str) -> Iterator[dict[str, object]]:
    """Yields everything of the runs of an experiment, by name."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs: list[Run] = client.search_runs([found.experiment_id], max_results=1000)
    names = {run.info.run_id: run.info.run_name for run in runs}
    for run in sorted(runs, key=lambda run: (run.info.run_name, run.data.tags.get("dptq.uid", ""))):
        tags = {name: "<varies>" if name in VARYING else value for name, value in run.data.tags.items()}
        for varying in (COMMIT, NOTE_MARK, STORAGE_ID):
            tags.pop(varying, None)
        if NOTE in tags:
            tags[NOTE] = tags[NOTE].replace(run.info.run_id, "<run>")
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = f"<{names[tags['mlflow.parentRunId']]}>"
        histories = {key: client.get_metric_history(run.info.run_id, key) for key in sorted(run.data.metrics)}
        yield {
            "name": run.info.run_name,
            "status": run.info.status,
            "start": _time(run.info.start_time),
            "end": _time(run.info.end_time),
            "params": run.data.params,
            "tags": tags,
            "metrics": {
                key: [f"{m.step} {_time(m.timestamp)} {m.value!r}" for m in sorted(points, key=lambda m: m.step)]
                for key, points in histories.items()
            },
            "artifacts": sorted(_artifacts(client, run.info.run_id)),
        }


def _artifacts(client: MlflowClient, run_id: str, path: str | None = None) -> Iterator[str]:
    for item in client.list_artifacts(run_id, path):
        if item.is_dir:
            yield from _artifacts(client, run_id, item.path)
        else:
            yield item.path


def _time(ms: int | None) -> int | str | None:
    return ms if ms is None or ms < FIXED_BEFORE_MS else "<now>"


def rounded(text: str) -> str:
    """Rounds long numbers to ten digits, so that no last bit counts.

    Examples:
        >>> rounded("0.30000000000000004, 1.0000000000000002, -1.1e-16, 0.125")
        '0.3, 1.0, 0.0, 0.125'
    """

    def shorten(match: re.Match[str]) -> str:
        value = float(match[0])
        short = f"{value:.10g}" if abs(value) > 1e-12 else "0.0"
        return short if set(short) & set(".e") else f"{short}.0"

    return re.sub(r"(?<![\w.])-?\d+(?:\.\d{8,}(?:e[+-]?\d+)?|(?:\.\d+)?e-\d+)(?![\w.])", shorten, text)


def canonical_json(text: str) -> str:
    """Returns a JSON text with sorted keys, a line per value."""
    return json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def read_expected() -> Texts:
    """Returns what is kept in `expected/`."""
    texts = {}
    for path in EXPECTED.rglob("*"):
        name = str(path.relative_to(EXPECTED))
        if path.suffix == ".gz":
            texts[name.removesuffix(".gz")] = gzip.decompress(path.read_bytes()).decode()
        elif path.is_file():
            texts[name] = path.read_text()
    return texts


def write_expected(texts: Texts) -> None:
    """Replaces what is kept in `expected/`."""
    shutil.rmtree(EXPECTED, ignore_errors=True)
    for name, text in texts.items():
        path = EXPECTED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if PACKED.fullmatch(name):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        else:
            path.write_text(text)


if __name__ == "__main__":
    write_expected(take())
