"""TEMPORARY: links writes this."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from search_spaces.assessment.recipes import Verdict
from trainables.assessment.record import Rung, Suspect


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    verdict: Verdict
    suspects: tuple[Suspect, ...] = ()
    reasons: tuple[str, ...] = ()


def judge(rungs: Sequence[Rung], *, sites: pd.DataFrame | None, channels: pd.DataFrame | None) -> Judgement:
    fragile = any(rung.rung in ("int8", "uniform") and rung.drop_low > 0.02 for rung in rungs)
    return Judgement(verdict="fragile" if fragile else "healthy")
