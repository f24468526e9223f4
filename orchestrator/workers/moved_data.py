"""Data that lies elsewhere than when a sweep was planned: the same data if its checksum is.

A plan names `folder:` and `parquet:` data by its path, so uids hold it. Where nothing is at that path any more, it is
looked for in --data-dir, and compared with what the finished trials were trained on before any other one begins.
"""

from collections.abc import Callable
from pathlib import Path

from orchestrator.plan import Plan
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers.entry_points import data_checksum
from search_spaces.errors import ConfigError


def check_moved_data(plan: Plan, store: Store, data_dir: Path, say: Callable[[str], None]) -> None:
    """Makes sure that data that was moved is what the finished trials of a plan were trained on; says where it is.

    Raises:
        ConfigError: It is not.
        UnavailableError: Its files cannot be read.
    """
    for dataset in dict.fromkeys(node.dataset for node in plan.nodes):
        if (moved := dataset.moved_to(data_dir)) is None:
            continue
        say(f"{dataset.name} is not there any more: its images are read from {moved.place}")
        results = (trial_of(store, node).result() for node in plan.nodes if node.dataset == dataset)
        known = {result.data_sha256 for result in results if result and result.data_sha256}
        if known and (found := data_checksum(dataset, data_dir)) not in known:
            raise ConfigError(
                f"{moved.place} holds other images ({found[:12]}) than those of {dataset.name} that {len(known)} "
                f"finished trials were trained on ({min(known)[:12]}): name the folder of those with --data-dir, or "
                "use another storage."
            )
