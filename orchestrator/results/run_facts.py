"""Where and when a sweep ran, and how to get at its trials, as a report says it."""

from collections.abc import Sequence
from datetime import timedelta

from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import Trial, read_rows
from orchestrator.store.folder import Folder
from orchestrator.store.sweep import LAUNCH


def run_facts(snapshot: Snapshot, folder: Folder, trials: Sequence[Trial]) -> dict[str, str]:
    """Returns where and when a sweep ran, on how many images, and how to get at its trials; all of it is stored."""
    uri, dataset = snapshot.store.uri, snapshot.plan.grid.dataset
    launched = str((folder.read_json(LAUNCH) or {}).get("launched_at", ""))
    rows = [row for trial in trials for row in read_rows(trial, ("timestamp_ms", "seconds")) if row["timestamp_ms"]]
    begins = [row["timestamp_ms"] - 1000 * row["seconds"] for row in rows]
    ends = [row["timestamp_ms"] for row in rows]
    measured = next((trial.metrics for trial in trials if "test/num_images" in trial.metrics), {})
    images = {"training": dataset.num_trained} | {
        split: measured.get(f"{split}/num_images") for split in ("validation", "test")
    }
    facts = {
        "storage": uri,
        "last launch": f"{launched[:16].replace('T', ' ')} UTC" if launched else "",
        "first to last epoch": str(timedelta(seconds=round((max(ends) - min(begins)) / 1000))) if rows else "",
        "images": ", ".join(f"{int(count):,} {split}" for split, count in images.items() if count),
        "run a trial again": f"dptq-sweep reproduce UID --storage {uri}, with a uid of the table of trials",
        "MLflow": f"dptq-sweep ui --storage {uri}",
    }
    return {name: text for name, text in facts.items() if text}
