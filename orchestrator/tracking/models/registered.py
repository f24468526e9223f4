"""A network in the terms of MLflow's model registry: name, tags and description. Calls no server."""

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.results.pairs import verdict
from orchestrator.store.records import TrialRecord, TrialResult
from orchestrator.store.trial import TrialFolder
from orchestrator.tracking.descriptions import pair_sentence
from orchestrator.tracking.runs import STAGE_TAG, UID_TAG
from search_spaces.errors import ConfigError
from search_spaces.names import Goal
from search_spaces.objective import accuracies_of
from search_spaces.stages.registry import Stage

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 100
_UID_LETTERS = 8
"""Of a uid or a checksum, in a name."""


def check_name(name: str) -> None:
    """Makes sure that a name can stand in `models:/NAME/VERSION`, on a command line and in a path.

    Raises:
        ConfigError: It cannot.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"--name {name!r} is no name of a model: it begins with a letter or a digit, goes on with these, dots, "
            f"hyphens or underscores, and has at most {_LONGEST_NAME} of them."
        )


def model_name(facts: Mapping[str, Any], record: TrialRecord | None) -> str:
    """Returns the name of a network that nobody named: what it is, and the beginning of its uid or checksum.

    Args:
        facts: What `export_served` returned.
        record: Of the trial that trained it; None for a network of somebody else.

    Examples:
        >>> model_name({"architecture": "hf_hub:me/net", "goal": None, "sha256": "0123456789abcdef"}, None)
        'dptq-hf_hub-me-net-01234567'
    """
    kind = facts["goal"] or (record.stage if record else None)
    identity = record.uid if record else facts["sha256"]
    architecture = re.sub(r"[^A-Za-z0-9._-]", "-", facts["architecture"])[: _LONGEST_NAME // 2]
    return "-".join(each for each in ("dptq", architecture, kind, identity[:_UID_LETTERS]) if each)


def version_tags(facts: Mapping[str, Any], trial: TrialFolder | None) -> dict[str, str]:
    """Returns what a version is found by: network, data, and of a pair its cell, budget, accuracies and verdict.

    Accuracies are fractions of the test split.
    """
    tags = {"dptq.source": facts["source"], "dptq.sha256": facts["sha256"], "dptq.architecture": facts["architecture"]}
    record, result = (trial.recipe(), trial.result()) if trial else (None, None)
    if record is None or result is None:
        return tags
    tags |= {UID_TAG: record.uid, STAGE_TAG: record.stage, "dptq.trial": record.name}
    tags |= {"dptq.dataset": str(record.dataset["name"]), "dptq.seed": str(record.seed)}
    if record.stage == Stage.PAIR:
        tags |= {"dptq.cell": record.cell_id} if record.cell_id else {}
        tags |= {f"dptq.{name}": str(facts[name]) for name in ("goal", "budget")}
        tags |= {"dptq.bit_widths": " ".join(map(str, facts["bit_widths"])), "dptq.verdict": _verdict(result)}
    return tags | {f"dptq.{name}": f"{accuracy:.6g}" for name, accuracy in _accuracies(record, result).items()}


def description(facts: Mapping[str, Any], trial: TrialFolder | None) -> str:
    """Returns what people read of a version: the verdict first, then what it takes and gives."""
    record, result = (trial.recipe(), trial.result()) if trial else (None, None)
    unknown = f"{facts['architecture']}, {facts['source']}."
    lines = [_of_trial(facts, record, result) if record and result else unknown]
    height, width = facts["image_size"]
    takes = f"Takes images [B, 3, {height}, {width}], float32"
    if facts["mean"]:
        takes += f", normalized: (level / 255 - mean) / std with mean {facts['mean']} and std {facts['std']}"
    lines.append(f"{takes}. Gives probabilities, bit_widths (0 is full precision) and predicted.")
    lines.append("Serve it where dptq-sweep is installed: mlflow models serve --env-manager local.")
    return "\n\n".join(lines)


def _of_trial(facts: Mapping[str, Any], record: TrialRecord, result: TrialResult) -> str:
    accuracies = {name: f"{100 * accuracy:.1f} %" for name, accuracy in _accuracies(record, result).items()}
    where = f"{facts['architecture']} on {record.dataset['name']}, trial {record.uid} ({record.name})"
    if record.stage != Stage.PAIR:
        return f"Test accuracy {accuracies['accuracy']} at full precision: {where}."
    budget = f"{facts['budget']} bits over {len(facts['sites'])} sites per image"
    return f"{pair_sentence(result, Goal(facts['goal']), budget)}: {where}."


def _verdict(result: TrialResult) -> str:
    return str(verdict(**accuracies_of(result.metrics, "test")))


def _accuracies(record: TrialRecord, result: TrialResult) -> dict[str, float]:
    if record.stage == Stage.PAIR:
        return accuracies_of(result.metrics, "test")
    return {"accuracy": result.metrics["test/accuracy"]}
