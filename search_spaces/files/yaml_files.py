"""YAML that people write, read strictly: safe types only, no key twice, one line for every mistake."""

from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import ConfigError, one_line, shown

MAX_DEPTH = 40
"""Largest number of lists and mappings in each other."""
MAX_NODES = 100_000
"""Largest number of values of a document, aliases written out: a few lines of nested aliases stand for billions."""
# What PyYAML's constructors raise, besides its own errors, at a tag or a number that does not fit its text.
CONSTRUCTOR_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError)


class UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would keep the later one without a word, and hexadecimals.

    Depth and size are bounded before anything is built.
    """

    def __init__(self, stream: str) -> None:
        """Begins to read a text."""
        super().__init__(stream)
        self._depth = 0
        self._num_nodes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Composes a node, unless it is too deep, too large or a part of itself."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refused(f"there are more than {MAX_DEPTH} lists and mappings in each other", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if isinstance(node, yaml.CollectionNode) and node.end_mark is None:
            raise _refused("an alias stands for what it is a part of", mark)
        # Whoever holds a node counts it, so an alias counts again.
        self._num_nodes[node] = 1 + sum(self._num_nodes[part] for part in _parts(node))
        if self._num_nodes[node] > MAX_NODES:
            raise _refused(f"it stands for more than {MAX_NODES} values", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Composes a mapping, unless a key stands in it twice; before `<<` merges others into it."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key is a list or a mapping", key.start_mark)
            if key.value in seen:
                raise _refused(f"the key {shown(key.value)} stands there twice", key.start_mark)
            seen.add(key.value)
        return node

    def construct_decimal(self, node: yaml.ScalarNode) -> int | str:
        """Builds a number; 0x32 stays text, because it is a mistyped image size rather than 50."""
        return str(node.value) if "x" in node.value.lower() else int(self.construct_yaml_int(node))


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.composer.ComposerError(None, None, problem, mark)


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
    except CONSTRUCTOR_ERRORS as error:
        raise ConfigError(f"{what} is no YAML: {one_line(error)}.") from None
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
    except CONSTRUCTOR_ERRORS:
        raise ConfigError(
            f"--set {shown(assignment)} has no readable value: write a number, a word or a list such as [a, b]."
        ) from None
