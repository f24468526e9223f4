"""Which analyses a sweep asks for, and the folder where each keeps its rows.

    <storage>/analysis/<uid>/recipe.json            settings and pairs; written first
                            /resume/rows.parquet    the units that are done so far
                            /rows.parquet           the whole table
                            /error.txt, /result.json   as of a trial

A uid hashes the settings and the checksums of the pairs' checkpoints: another training never inherits a table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from orchestrator.plan import ANALYSIS, digest
from orchestrator.results.contrasts import contrasts_of
from orchestrator.results.pairs import PairRecord
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.analysis import ANALYSIS_SCHEMA
from orchestrator.store.folder import CHECKPOINT
from search_spaces.analyses import Analysis


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisTask:
    """One analysis of one pair, or of a robust and a detrimental pair."""

    uid: str
    name: str
    """Readable and unique within the sweep, e.g. `layers/resnet18/I/B/detrimental/seed0`."""
    analysis: Analysis
    subjects: tuple[PairRecord, ...]
    """Robust before detrimental where it compares both."""

    @property
    def stage(self) -> str:
        """The folder of the storage that its own lies in."""
        return ANALYSIS

    @property
    def subject_uids(self) -> tuple[str, ...]:
        """The uids of the pairs."""
        return tuple(record.uid for record in self.subjects)


@dataclass(frozen=True, slots=True)
class Missing:
    """An analysis that cannot be made, and why."""

    name: str
    reason: str


def tasks_of(
    records: Sequence[PairRecord], analyses: Sequence[Analysis], checksum: Callable[[str], str]
) -> tuple[list[AnalysisTask], list[Missing]]:
    """Lists what analyses of the pairs that are done consist of: the tasks, and those for which a pair is missing.

    `checksum` returns that of a pair's checkpoint by the pair's uid; see `checksums_of`.
    """
    contrasts = contrasts_of(records)
    tasks: list[AnalysisTask] = []
    missing: list[Missing] = []
    for analysis in analyses:
        if analysis.needs_both:
            for contrast in contrasts:
                name = f"{analysis.name}/{contrast.name}"
                if len(contrast.pairs) == 2:
                    tasks.append(_task(name, analysis, contrast.pairs, checksum))
                else:
                    lacking = "robust" if contrast.robust is None else "detrimental"
                    missing.append(Missing(name, f"no {lacking} pair is done"))
            continue
        chosen = records if analysis.every_trial else [pair for contrast in contrasts for pair in contrast.pairs]
        tasks += [_task(f"{analysis.name}/{r.name.removeprefix('pair/')}", analysis, (r,), checksum) for r in chosen]
    return tasks, missing


def _task(
    name: str, analysis: Analysis, subjects: tuple[PairRecord, ...], checksum: Callable[[str], str]
) -> AnalysisTask:
    identity = {
        "schema": ANALYSIS_SCHEMA,
        "analysis": analysis.name,
        "settings": analysis.model_dump(mode="json"),
        "subjects": [[record.uid, checksum(record.uid)] for record in subjects],
    }
    return AnalysisTask(uid=digest(identity), name=name, analysis=analysis, subjects=subjects)


def checksums_of(snapshot: Snapshot) -> Callable[[str], str]:
    """Returns what tells the checksum of a pair's checkpoint, given the uid of a pair that is done."""
    nodes = snapshot.plan.by_uid()

    @cache
    def checksum(uid: str) -> str:
        result = snapshot.trial(nodes[uid]).result()
        assert result is not None, f"pair {uid} has a record and is not done"
        return result.files[CHECKPOINT]

    return checksum
