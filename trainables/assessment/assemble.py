"""From the parts of an assessment to the whole: rungs in order, suspects, verdict. Needs no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from search_spaces.names import RangeScope, SitePlacement
from search_spaces.stages.assessment import FILE_RUNGS, NETWORK_RUNGS, RUNGS, Labels
from trainables.assessment.record import (
    Assessment,
    MissingRung,
    MitigatedRung,
    Mitigation,
    Model,
    QuantizedFile,
    RevertedNodes,
    Rung,
    RuntimeRung,
    Suspect,
)
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
    trained: Sequence[Rung] = (),
    missing: Sequence[MissingRung] = (),
    runtime: Sequence[RuntimeRung] = (),
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
        trained: Rungs of `trainables.assessment.trained`; the verdict is on the network as it is, without them.
        missing: Those that are not there.
        runtime: Those that ran in ONNX Runtime.
    """
    rungs = sorted((rung for tables in parts for rung in _rungs(tables)), key=_place)
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
        rungs=tuple(sorted([*rungs, *trained], key=_place)),
        missing=tuple(missing),
        runtime=tuple(runtime),
        suspects=tuple(Suspect(**asdict(each)) for each in judged.suspects),
        verdict=judged.verdict,
        reasons=judged.reasons,
        mitigations=_mitigations(whole),
        quantized_file=_quantized_file(whole),
    )


def _place(rung: Rung) -> tuple[bool, int, int]:
    has_budget = rung.rung not in (*NETWORK_RUNGS, *FILE_RUNGS)
    return has_budget, rung.budget or 0 if has_budget else 0, RUNGS.index(rung.rung)


def _rungs(tables: Tables) -> list[Rung]:
    shares = tables["classes"]
    rungs = []
    for row in tables["rungs"].to_dict("records"):
        values = _values(row)
        values["class_shares"] = _shares(shares, str(row["rung"]))
        rungs.append(Rung.model_validate(values))
    return rungs


def _mitigations(tables: Tables) -> tuple[Mitigation, ...]:
    # Parts that were measured before attacks on repaired networks came in have no such table.
    figures = tables.get("cure_figures", pd.DataFrame(columns=["name", "rung"]))
    before = {row["rung"]: row for row in figures[figures["name"] == ""].to_dict("records")}
    rows = tables["cures"].to_dict("records") if before else []
    return tuple(
        Mitigation(
            name=row["name"],
            kind=row["kind"],
            full_precision=row["full_precision"],
            rungs=tuple(
                _mitigated(each, before[each["rung"]])
                for each in figures[figures["name"] == row["name"]].to_dict("records")
            ),
        )
        for row in rows
    )


def _mitigated(after: dict[Any, Any], before: dict[Any, Any]) -> MitigatedRung:
    drops = {name.replace("drop", "drop_before"): before[name] for name in ("drop", "drop_low", "drop_high")}
    own = {str(name): value for name, value in after.items() if name != "name"}
    return MitigatedRung.model_validate(own | drops)


def _quantized_file(tables: Tables) -> QuantizedFile | None:
    if "quantized_file" not in tables:
        return None
    row = _values(tables["quantized_file"].iloc[0].to_dict())
    nodes, drop, largest = json.loads(row.pop("nodes")), row["drop_excluded"], row["largest_drop"]
    return QuantizedFile.model_validate(
        row
        | {
            "nodes_to_exclude": nodes,
            "is_enough": drop <= largest if nodes else None,
            "unmatched": json.loads(row["unmatched"]),
            "reverted": [
                RevertedNodes.model_validate(each | {"nodes": json.loads(each["nodes"])})
                for each in tables["quantized_nodes"].drop(columns="blocks").to_dict("records")
            ],
        }
    )


def _values(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns the values of a row of a table; None for those that are not there."""
    return {str(name): None if pd.isna(value) else value for name, value in row.items()}


def _shares(classes: pd.DataFrame, rung: str) -> dict[str, float]:
    """Returns the share of every class on a rung, or of the labels, by its name."""
    own = classes[classes["rung"] == rung]
    return dict(zip(own["class_name"], own["share"], strict=True))
