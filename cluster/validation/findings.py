"""Findings: one line for each mistake in a cluster file, with the value, the rule and the hint."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

_KINDS = {"object": "a mapping", "array": "a list", "string": "text", "integer": "a whole number",
          "number": "a number", "boolean": "true or false", "null": "nothing"}  # fmt: skip
_PYTHON_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake."""

    place: str
    """Where it stands in the file, such as `provider.region`."""
    text: str
    """The value, the rule and the hint."""

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def joined(place: str, *keys: str | int) -> str:
    """Names something inside of a place.

    Examples:
        >>> joined("spec", "workerGroupSpecs", 0, "groupName"), joined("", "provider")
        ('spec.workerGroupSpecs[0].groupName', 'provider')
    """
    for key in keys:
        place += f"[{key}]" if isinstance(key, int) else f".{key}" if place else key
    return place


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Returns a sentence with the nearest known name, or nothing where none is near.

    Examples:
        >>> did_you_mean("regoin", ["region", "type"]), did_you_mean("xyz", ["region"])
        (" Did you mean 'region'?", '')
    """
    names = list(known)
    by_lower_case = {each.lower(): each for each in names}
    nearest = difflib.get_close_matches(str(name).lower(), by_lower_case, n=1, cutoff=0.6)
    return f" Did you mean {by_lower_case[nearest[0]]!r}?" if nearest else ""


def unknown_keys(given: Mapping[str, Any], known: Iterable[str], *, place: str, reader: str) -> Iterator[Finding]:
    """Yields a finding for every key that its reader, such as `Ray's launcher on AWS`, does not know."""
    names = sorted(known)
    for key in given:
        if key not in names:
            yield Finding(joined(place, key), f"{reader} knows no such field.{did_you_mean(key, names)}")


def schema_findings(document: object, schema: Mapping[str, Any], *, reader: str) -> Iterator[Finding]:
    """Yields a finding for everything in a document that a JSON schema does not allow."""
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)(schema)
    for error in sorted(validator.iter_errors(document), key=lambda each: each.json_path):
        here = joined("", *error.absolute_path)
        if error.validator == "additionalProperties":
            yield from unknown_keys(error.instance, error.schema.get("properties", ()), place=here, reader=reader)
        elif error.validator == "required":
            missing = next(name for name in error.validator_value if name not in error.instance)
            yield Finding(here or "top level", f"{missing!r} is missing, and {reader} needs it.")
        elif error.validator == "type":
            yield Finding(here or "top level", _wrong_kind(error.instance, error.validator_value))
        elif error.validator == "enum":
            options = [str(option) for option in error.validator_value]
            yield Finding(
                here, f"{error.instance!r} is none of {', '.join(options)}.{did_you_mean(error.instance, options)}"
            )
        else:
            yield Finding(here or "top level", f"{reader} refuses it: {' '.join(error.message.split())}.")


def strict(schema: Any) -> Any:
    """Returns the `openAPIV3Schema` of a custom resource definition, or a part of it, in plain JSON schema.

    It refuses unknown fields, as the API server does.
    """
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    properties = schema.get("properties")
    tightened = {key: strict(value) for key, value in schema.items() if key != "properties"}
    if isinstance(properties, dict):
        tightened["properties"] = {name: strict(each) for name, each in properties.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            tightened.setdefault("additionalProperties", False)
    return tightened


def _wrong_kind(value: object, expected: str | list[str]) -> str:
    kinds = [expected] if isinstance(expected, str) else expected
    wanted = " or ".join(_KINDS[kind] for kind in kinds)
    given = _PYTHON_KINDS.get(type(value), "null")
    if given == "string" and "boolean" in kinds:
        hint = " Write true or false, without quotes."
    elif given == "string" and {"integer", "number"} & set(kinds):
        hint = " Write the number without quotes."
    elif "string" in kinds and given in ("integer", "number", "boolean"):
        hint = f' Write "{str(value).lower()}", with quotes.'
    else:
        hint = ""
    return f"{value!r} is {_KINDS[given]}, where {wanted} belongs.{hint}"
