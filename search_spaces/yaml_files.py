"""YAML that people write, read strictly: safe types only, no key twice, one line for every mistake."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import ConfigError


class UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would keep the later one without a word, and hexadecimals."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Builds a mapping, unless a key stands in it twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands there twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int | str:
        """Builds a number; 0x32 stays text, because it is a mistyped image size rather than 50."""
        return str(node.value) if "x" in node.value.lower() else int(self.construct_yaml_int(node))


UniqueKeys.add_constructor("tag:yaml.org,2002:int", UniqueKeys.construct_decimal)


def read_text(path: Path, *, what: str) -> str:
    """Reads a text file; `what` says in errors what it is, such as `grid file`.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {getattr(error, 'strerror', error)}.") from None


def read_documents(path: Path, *, what: str) -> list[Any]:
    """Reads all documents of a YAML file.

    Raises:
        ConfigError: It cannot be read, or is no YAML.
    """
    return parse_documents(read_text(path, what=what), what=f"{what} {path}")


def read_mapping(path: Path, *, what: str, hint: str) -> dict[str, Any]:
    """Reads a YAML file that holds one mapping; `hint` says in the error how such a file begins.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    match read_documents(path, what=what):
        case [dict(content)]:
            return content
    raise ConfigError(f"{what} {path} holds no mapping: {hint}.")


def parse_documents(text: str, *, what: str) -> list[Any]:
    r"""Parses YAML, of which a file may hold several documents between lines of `---`; empty ones are left out.

    Raises:
        ConfigError: It is no YAML, or gives a key twice; says in which line.

    Examples:
        >>> parse_documents("a: 1\n---\nb: [2]\n", what="example")
        [{'a': 1}, {'b': [2]}]
    """
    try:
        documents = list(yaml.load_all(text, Loader=UniqueKeys))
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{what}{line} is no YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is no YAML: {str(error).splitlines()[0]}.") from None
    return [document for document in documents if document is not None]


def dump_yaml(content: dict[str, Any]) -> str:
    r"""Writes a mapping, in its own order.

    Examples:
        >>> dump_yaml({"b": [2], "a": 1})
        'b:\n- 2\na: 1\n'
    """
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def yaml_value(assignment: str, text: str) -> Any:
    """Reads the value of an assignment, which is the text behind its equals sign.

    Raises:
        ConfigError: It is no YAML.
    """
    try:
        return yaml.load(text, Loader=UniqueKeys)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set {assignment!r} has no readable value: write a number, a word or a list such as [a, b]."
        ) from None
