"""From the parts of an assessment to the whole: rungs in order, suspects, verdict. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from search_spaces.names import RangeScope, SitePlacement
from search_spaces.stages.assessment import RUNGS, Labels
from trainables.assessment.record import Assessment, Model, Rung, Suspect
from trainables.assessment.verdict import judge

Tables = Mapping[str, pd.DataFrame]
"""Tables of one part, by name."""


def assemble(
    model: Model,
    parts: Sequence[Tables],
    *,
    num_images: int,
    num_sites: int,
    labels: Labels,
    sites: SitePlacement = "outputs",
    range_scope: RangeScope = "example",
) -> Assessment:
    """Puts the parts of an assessment together.

    Args:
        model: What was assessed.
        parts: Tables of every part, as `trainables.assessment.parts.summarize` returns them.
        num_images: Images that everything was measured on.
        num_sites: Quantized activations.
        labels: What counts as right.
        sites: Where the network was quantized.
        range_scope: What shared a range.
    """
    rungs = [rung for tables in parts for rung in _rungs(tables)]
    rungs.sort(key=lambda rung: (rung.rung not in ("fp", "int8"), rung.budget or 0, RUNGS.index(rung.rung)))
    whole = {name: table for tables in parts for name, table in tables.items()}
    label_shares = _shares(whole["classes"], "labels")
    judged = judge(rungs, label_shares=label_shares, channels=whole["channels"], links=whole["links"])
    return Assessment(
        model=model,
        num_images=num_images,
        num_sites=num_sites,
        labels=labels,
        sites=sites,
        range_scope=range_scope,
        rungs=tuple(rungs),
        suspects=tuple(Suspect(**asdict(each)) for each in judged.suspects),
        verdict=judged.verdict,
        reasons=judged.reasons,
    )


def _rungs(tables: Tables) -> list[Rung]:
    shares = tables["classes"]
    rungs = []
    for row in tables["rungs"].to_dict("records"):
        values: dict[str, Any] = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        values["class_shares"] = _shares(shares, str(row["rung"]))
        rungs.append(Rung.model_validate(values))
    return rungs


def _shares(classes: pd.DataFrame, rung: str) -> dict[str, float]:
    """Returns the share of every class on a rung, or of the labels, by its name."""
    own = classes[classes["rung"] == rung]
    return dict(zip(own["class_name"], own["share"], strict=True))
