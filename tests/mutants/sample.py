"""Chooses mutants: first a room, then a place in its code, then a change there; the seed decides."""

import ast
import difflib
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from parso.tree import NodeOrLeaf

from tests.mutants.operators import OPERATORS, Position, is_idle, unnoticeable
from tests.mutants.rooms import ROOMS, ROOT, modules_of


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module.

    Attributes:
        occurrence: Which of the operator's places in the module, from 0.
        line: Where it is, from 1.
        before: The lines that it replaces, without indentation.
        after: The lines that stand there instead.
    """

    room: str
    module: str
    operator: str
    occurrence: int
    line: int
    before: str
    after: str


def sample(size: int, seed: int) -> list[Mutant]:
    """Returns mutants of all rooms, by their shares; as many as a room has places, if those are fewer."""
    total = sum(room.share for room in ROOMS.values())
    chosen: list[Mutant] = []
    for name, room in ROOMS.items():
        randomness = random.Random(f"{seed} {name}")
        places = [(module, *place) for module in modules_of(room) for place in _places(module).items()]
        randomness.shuffle(places)
        count = round(size * room.share / total)
        mutants = (_mutant(name, module, randomness.choice(changes)) for module, _, changes in places)
        found = [mutant for mutant, _ in zip(filter(None, mutants), range(count), strict=False)]
        chosen += found
    return chosen


def _places(module: str) -> dict[Position, list[tuple[str, int, Position]]]:
    """Returns every place of a module that can be changed, and its changes: operator, occurrence, position."""
    source = (ROOT / module).read_text()
    nodes = list(ast_nodes(get_ast(source)))
    left_out = unnoticeable(source)
    places: dict[Position, list[tuple[str, int, Position]]] = defaultdict(list)
    for name in OPERATORS:
        for occurrence, (node, start) in enumerate(_positions(get_operator(name)(), nodes)):
            if not is_idle(name, node) and not any(first <= start < last for first, last in left_out):
                places[start].append((name, occurrence, start))
    return places


def _positions(operator: Operator, nodes: list[NodeOrLeaf]) -> Iterator[tuple[NodeOrLeaf, Position]]:
    for node in nodes:
        for start, _ in operator.mutation_positions(node):
            yield node, start


def _mutant(room: str, module: str, change: tuple[str, int, Position]) -> Mutant | None:
    """Returns a mutant, None where the change is none or no Python."""
    operator, occurrence, (line, _) = change
    source = (ROOT / module).read_text()
    try:
        mutated = mutate_code(source, get_operator(operator)(), occurrence)
        if mutated is None or ast.dump(ast.parse(mutated)) == ast.dump(ast.parse(source)):
            return None
    except (SyntaxError, AttributeError):  # Cosmic Ray 8.7 cannot replace exceptions with a dot in their name.
        return None
    changed = [
        entry for entry in difflib.ndiff(source.splitlines(), mutated.splitlines()) if entry.startswith(("- ", "+ "))
    ]
    before, after = (
        "\n".join(entry[2:].strip() for entry in changed if entry.startswith(sign)) for sign in ("- ", "+ ")
    )
    return Mutant(room, module, operator, occurrence, line, before, after)
