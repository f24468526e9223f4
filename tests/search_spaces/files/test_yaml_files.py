"""YAML that people write: merges are read, and what is no value of a grid ends in one line, at once."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from search_spaces.errors import ConfigError
from search_spaces.files.yaml_files import MAX_DEPTH, parse_documents


def parsed(text: str) -> Any:
    (document,) = parse_documents(text, what="file")
    return document


@pytest.mark.parametrize(
    "text",
    [
        "teacher: &t {epochs: 1}\npair: {epochs: 1, detrimental: &d {<<: *t, epochs: 2}}\ndistill: {<<: *d}",
        "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: &c {<<: *b, x: 3}\nd: {<<: *c}",
        "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\nd: {<<: [*b, *a]}",
        "a: &a {<<: {x: 1}, x: 2}\nb: *a\nc: {<<: *a}",
        "a: &a [1, 2]\nb: *a\nc: [*a, *a]",
    ],
)
def test_merged_mappings_are_those_of_yaml(text: str) -> None:
    assert parsed(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["<<: {a: 1}\n<<: {b: 1}", "a: 1\n'a': 2", "x: {1: a, 1: b}", "{a: 1, b: [{c: 1, c: 1}]}"]
)
def test_a_key_that_is_written_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"line .* is no YAML: the key .* stands there twice"):
        parsed(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]", "an alias stands for what it is a part of"),
        ("a: &a {b: {c: *a}}", "an alias stands for what it is a part of"),
        ("a: &a {<<: *a}", "an alias stands for what it is a part of"),
        ("[" * 5000, "more than 40 lists and mappings in each other"),
        ("{a: " * 5000, "more than 40 lists and mappings in each other"),
        ("- " * 5000, "more than 40 lists and mappings in each other"),
        ("? [1]\n: 2", "a key is a list or a mapping"),
        ("a: 2025-13-45", "is no YAML"),
        ("a: !!bool maybe", "is no YAML"),
        ("a: !!timestamp noon", "is no YAML"),
        ("a: !!float x", "is no YAML"),
        ("a: !!int ''", "is no YAML"),
        ("a: " + "9" * 5000, "is no YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is no YAML"),
        ("a: *b", "is no YAML"),
        ("k" * 1000 + ": 1\n" + "k" * 1000 + ": 1", "twice"),
    ],
)
def test_what_cannot_be_read_is_one_short_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refusal:
        parsed(text)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


NINE = range(9)


@pytest.mark.parametrize(
    ("first", "next_of"),
    [
        ("[x]", lambda alias: f"[{', '.join(alias for _ in NINE)}]"),
        ("{x: 1}", lambda alias: f"{{<<: [{', '.join(alias for _ in NINE)}]}}"),
        ("{x: 1}", lambda alias: f"{{{', '.join(f'x{number}: {alias}' for number in NINE)}}}"),
    ],
)
def test_nested_aliases_are_refused_before_they_are_built(first: str, next_of: Callable[[str], str]) -> None:
    lines = [f"a0: &a0 {first}", *(f"a{n}: &a{n} {next_of(f'*a{n - 1}')}" for n in range(1, 12))]
    start = time.perf_counter()
    with pytest.raises(ConfigError, match="stands for more than 100000 values"):
        parsed("\n".join(lines))
    assert time.perf_counter() - start < 5


def test_depth_ends_where_it_says() -> None:
    assert parsed("[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1))
    with pytest.raises(ConfigError):
        parsed("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)
