"""Makes `tests/golden/storage/`: a small finished sweep whose numbers are made up, and one that was interrupted.

    rm -r tests/golden/storage && python -m tests.golden.make_storage

Made once, by the program as it was then; no test ever runs this. Plans, points, studies, failures, pruning and what
searches spare are the program's own, from its plan and its frontier; a trial itself trains nothing and writes what
`tests/golden/fake_trials.py` says, at times of a clock that starts in November 2023. Tables of analyses are those of
`tests/golden/fake_tables.py`. Files of a later version belong into another folder: these have to stay readable.
"""

import datetime
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray.tune.search import Searcher
from safetensors.numpy import save

from orchestrator.analyses.results import load_analyses, save_analyses
from orchestrator.analyses.tasks import AnalysisTask, checksums_of, tasks_of
from orchestrator.launch.frontier import Frontier
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.pairs import pair_records
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.journal import sweep_journal
from orchestrator.search.study import CellStudy
from orchestrator.store.analysis import AnalysisFolder
from orchestrator.store.folder import CHECKPOINT, PREDICTIONS, RESULT, parquet_bytes
from orchestrator.store.store import Store
from orchestrator.store.sweep import LAUNCH, LaunchOptions, Sweep
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.workers.entry_points import num_sites
from search_spaces.analyses import set_analyses
from search_spaces.errors import NonFiniteLossError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.recipes import TrainingRecipe
from search_spaces.stages.registry import Stage
from tests.golden.fake_tables import rows_of
from tests.golden.fake_trials import epoch_row, jitter, metrics_of, short_name

HERE = Path(__file__).resolve().parent
VERSIONS = {"python": "3.11.0", "torch": "2.10.0", "numpy": "2.0.0"}
SETTINGS = (
    *("cross_policy.num_draws=2", "transitory.num_thumbnails=2", "layers.max_images=50"),
    *("histograms.num_bins=8", "histograms.low=-2", "histograms.high=2", "corruptions.num_degrees=2"),
    *("mitigation.quantiles=[0.99, 0.95]", "mitigation.num_sites=[1, 2]", "indicators.corruption_degree=2"),
)
ANALYZED = ("A/seed3", "A/seed5", "B/seed3")
FAILED_ANALYSIS, INTERRUPTED_ANALYSIS = "layers/test_resnet/I/B/robust/seed3", "mitigation/test_resnet/I/B/robust/seed3"


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's."""


FAILURES: dict[str, Exception] = {
    "B/detrimental/seed3/trial1": NonFiniteLossError("the loss became nan in epoch 3 of 8: lower the learning rate."),
    "B/detrimental/seed5/trial2": RuntimeError("an illegal memory access was encountered"),
    "B/detrimental/seed5/confirm1": ValueError("the worker's clock went backwards"),
    "C/detrimental/seed3/trial2": OutOfMemoryError("tried to allocate 2.00 GiB"),
    "C/robust/seed5": KeyError("layer4"),
}
"""Of pairs that fail after two epochs, however often they are tried."""


class Clock:
    """Time that passes when somebody works."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def pass_seconds(self, seconds: float) -> int:
        """Returns the time after so many seconds, in milliseconds since 1970."""
        self.ms += round(1000 * seconds)
        return self.ms

    def text(self) -> str:
        """Returns the time as results have it."""
        return datetime.datetime.fromtimestamp(self.ms // 1000, datetime.UTC).isoformat(timespec="seconds")


@dataclass
class Maker:
    """Runs a plan one trial at a time, and trains nothing."""

    store: Store
    clock: Clock

    def sweep(self, grid: str) -> tuple[Sweep, Plan]:
        """Begins the sweep of a grid file."""
        plan = build_plan(build_grid(str(HERE / grid), Choices(), num_sites), num_sites)
        sweep = Sweep(self.store, plan.grid.name)
        sweep.save_plan(plan)
        sweep.save_launch(LaunchOptions(data_dir=Path("/data"), max_retries=1))
        self.clock.pass_seconds(60)
        launch = sweep.folder.read_json(LAUNCH) or {}
        sweep.folder.write_json(LAUNCH, launch | {"launched_at": f"{self.clock.text()[:19]}.000000+00:00"})
        return sweep, plan

    @contextmanager
    def frontier(self, sweep: Sweep, plan: Plan) -> Iterator[Frontier]:
        """Opens what hands out the trials."""
        with sweep_journal(sweep.folder) as journal:
            cells, search = plan.searched_cells, plan.grid.search
            studies = {cell.cell_id: CellStudy(cell, journal, search, sweep=sweep.name) for cell in cells}
            yield Frontier(
                Snapshot(plan, self.store), studies, data_dir="/data", stop_file=sweep.stop_file, max_retries=1
            )

    def run(self, sweep: Sweep, plan: Plan) -> None:
        """Runs all that is left."""
        with self.frontier(sweep, plan) as frontier:
            for number in range(1000):
                config = frontier.suggest(f"t{number}")
                if config is None or config == Searcher.FINISHED:
                    return
                assert isinstance(config, dict)
                is_failed = self.train(frontier, f"t{number}", plan.node(config["uid"]))
                frontier.on_trial_complete(f"t{number}", error=is_failed)

    def train(self, frontier: Frontier, trial_id: str, node: Node, *, ends: int | None = None) -> bool:
        """Pretends to train; returns whether the trial failed."""
        trial = trial_of(self.store, node)
        assert isinstance(node.recipe, TrainingRecipe)
        error, rows = FAILURES.get(short_name(node)), []
        for epoch in range(1, (ends or node.recipe.epochs) + 1):
            seconds = round(2 + 3 * jitter(node.name, epoch), 3)
            row: dict[str, Any] = {"epoch": epoch, "seconds": seconds, "timestamp_ms": self.clock.pass_seconds(seconds)}
            row |= epoch_row(node, epoch)
            if node.seed == 5:
                row["gpu_seconds"] = 0.25 * seconds
            rows.append(row)
            trial.write_epoch(rows, b"state")
            if error and epoch == 2:
                trial.write_error(error, log=[f"epoch {each['epoch']}: loss {each['train/loss']}" for each in rows])
                return True
            if frontier.prunes(trial_id, row):
                return False
        if ends is None:
            checkpoint = save({"weight": pa.array([jitter(node.uid)], pa.float32()).to_numpy()})
            files = {CHECKPOINT: checkpoint, PREDICTIONS: parquet_bytes(_predictions(node))}
            seconds = sum(row["seconds"] for row in rows)
            trial.write_result(metrics_of(node), files, seconds=seconds, data_sha256="digits-32")
            self.date(trial)
        return False

    def date(self, trial: TrialFolder) -> None:
        """Gives a result the clock's time, and the versions of no machine in particular."""
        result = trial.folder.read_json(RESULT)
        assert result
        trial.folder.write_json(RESULT, result | {"finished_at": self.clock.text(), "versions": VERSIONS})

    def analyze(self, sweep: Sweep, plan: Plan) -> None:
        """Writes the analyses of some contrasts."""
        save_analyses(sweep.folder, set_analyses(load_analyses(sweep.folder), SETTINGS))
        snapshot = Snapshot(plan, self.store)
        tasks, _ = tasks_of(pair_records(snapshot), list(load_analyses(sweep.folder).values()), checksums_of(snapshot))
        for task in tasks:
            record = task.subjects[-1]
            if task.analysis.every_trial or f"{record.budget_level}/seed{record.seed}" in ANALYZED:
                self._write(task, rows_of(task.analysis.name, task.name, str(record.goal)))

    def _write(self, task: AnalysisTask, rows: list[dict[str, object]]) -> None:
        folder, seconds = AnalysisFolder(self.store, task.uid), round(5 + 5 * jitter(task.name), 3)
        self.clock.pass_seconds(seconds)
        folder.write_task(task)
        if task.name == FAILED_ANALYSIS:
            folder.write_error(RuntimeError("the site layer1.conv1 gave nan"), log=["train/before/0"])
        elif task.name == INTERRUPTED_ANALYSIS:
            folder.write_partial(rows[:2], seconds=seconds)
        else:
            folder.write_rows(rows, seconds=seconds, data_sha256="digits-32")
            self.date(folder)


def _predictions(node: Node) -> pa.Table:
    chance = random.Random(node.uid)
    names = ("label", "prediction_fp", "prediction_q") if node.stage is Stage.PAIR else ("label", "prediction")
    return pa.table({"image_id": [0, 1, 2], **{name: [chance.randrange(10) for _ in range(3)] for name in names}})


def main() -> None:
    """Makes the folder."""
    target = HERE / "storage"
    assert not target.exists(), f"remove {target} first"
    maker = Maker(Store(str(target)), Clock())
    sweep, plan = maker.sweep("golden.yaml")
    maker.run(sweep, plan)
    maker.analyze(sweep, plan)
    begun, its_plan = maker.sweep("begun.yaml")
    with maker.frontier(begun, its_plan) as frontier:
        config = frontier.suggest("t")
        assert isinstance(config, dict)
        node = its_plan.node(config["uid"])
        assert node.stage is Stage.DISTILL
        maker.train(frontier, "t", node, ends=2)


if __name__ == "__main__":
    main()
