"""`assessment.json` keeps the names that other tools rely on, and the published schema is that of the model."""

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema

from search_spaces.stages.assessment import RUNGS
from trainables.assessment.record import Assessment, GateResult, Model, Rung, RungName, Suspect, schema

PUBLISHED = Path(__file__).parents[3] / "docs" / "assessment.schema.json"


def rung(**changes: Any) -> Rung:
    """A rung of a network that loses 2 of 100 images."""
    shares = {"accuracy": 0.97, "accuracy_low": 0.92, "accuracy_high": 0.99}
    drops = {"drop": 0.02, "drop_low": 0.001, "drop_high": 0.07}
    flips = {"flips": 0.03, "flips_low": 0.01, "flips_high": 0.085}
    low = {"flips_low_margin": 0.2, "flips_low_margin_low": 0.06, "flips_low_margin_high": 0.51}
    worst = {"worst_class": "7", "worst_class_drop": 0.1, "worst_class_drop_low": -0.1, "worst_class_drop_high": 0.4}
    values = {"rung": "uniform", "budget": 60, **shares, **drops, **flips, **low, **worst, "largest_class_share": 0.13}
    return Rung.model_validate(values | changes)


def assessment(*rungs: Rung, **changes: Any) -> Assessment:
    values: dict[str, Any] = {
        "model": Model(uri="timm:test_resnet", sha256="0" * 64, architecture="test_resnet"),
        "num_images": 100,
        "num_sites": 15,
        "rungs": rungs,
        "suspects": (Suspect(site="conv1", channel=3, ratio=512.0, link="conv1 to conv2"),),
        "verdict": "healthy",
    }
    return Assessment(**values | changes)


def test_the_published_schema_is_that_of_the_model() -> None:
    assert json.loads(PUBLISHED.read_text()) == schema()


def test_what_is_written_keeps_the_schema_and_has_the_names_that_other_tools_rely_on() -> None:
    written = json.loads(assessment(rung(), gate=(GateResult(rule="fragile", outcome="pass"),)).as_json())
    jsonschema.validate(written, schema())
    assert {"model", "num_images", "rungs", "suspects", "verdict", "gate"} <= written.keys()
    assert written["model"].keys() == {"uri", "sha256", "architecture"}
    names = {"rung", "budget", "accuracy", "drop", "drop_low", "drop_high", "flips"}
    assert names <= written["rungs"][0].keys()
    assert {"site", "channel", "ratio"} <= written["suspects"][0].keys()
    assert {"rule", "outcome"} <= written["gate"][0].keys()


def test_the_record_and_the_recipes_name_the_same_rungs() -> None:
    assert get_args(RungName) == RUNGS


def test_a_rung_is_found_by_its_name_and_budget() -> None:
    found = assessment(rung(), rung(budget=82, drop=0.0), rung(rung="fp", budget=None))
    assert (found.rung("uniform", 82).drop, found.rung("uniform").budget, found.rung("fp").budget) == (0.0, 60, None)
