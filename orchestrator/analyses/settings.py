"""The settings of a sweep's analyses: kept with the sweep, so that its report shows the tables that they made."""

from collections.abc import Mapping, Sequence

from orchestrator.analyses.tasks import AnalysisTask, tasks_of
from orchestrator.deferred import ANALYSIS
from orchestrator.reports.pairs import PairRecord
from orchestrator.store import Folder, Store
from search_spaces.analyses import ANALYSES, Analysis
from search_spaces.recipes import parse_recipe

SETTINGS = "analyses.json"


def load_analyses(sweep: Folder) -> dict[str, Analysis]:
    """Returns every analysis by name, with the settings that the sweep was analyzed with last.

    Raises:
        ConfigError: Another version of this program wrote settings that this one does not know.
    """
    stored = sweep.read_json(SETTINGS) or {}
    place = f"{sweep.root}/{SETTINGS}: "
    return {
        name: parse_recipe(type(default), stored.get(name, {}), place=f"{place}{name}")
        for name, default in ANALYSES.items()
    }


def tasks_of_sweep(records: Sequence[PairRecord], store: Store, sweep: Folder) -> list[AnalysisTask]:
    """Lists all analyses of a sweep with its settings; none where nothing was ever analyzed on the storage.

    Args:
        records: The pairs that are done, in plan order.
        store: Where they and the analyses are.
        sweep: The sweep's folder.
    """
    if not store.root.folder(ANALYSIS).names():
        return []
    tasks, _ = tasks_of(records, list(load_analyses(sweep).values()), store)
    return tasks


def save_analyses(sweep: Folder, analyses: Mapping[str, Analysis]) -> None:
    """Keeps the settings of a sweep's analyses."""
    sweep.write_json(SETTINGS, {name: analysis.model_dump(mode="json") for name, analysis in analyses.items()})
