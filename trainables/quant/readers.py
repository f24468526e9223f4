"""Which layers read an activation: one rule for every kind of graph."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Place = TypeVar("Place", bound=Hashable)
"""A node of a graph, or the tensor that it makes."""

MOST_ADDITIONS = 1
"""Additions between an activation and a layer that reads it: behind a second one a residual stream has many sites."""


def layers_behind(
    starts: Iterable[Place],
    users: Callable[[Place], Iterable[Place]],
    *,
    is_layer: Callable[[Place], bool],
    is_addition: Callable[[Place], bool],
) -> set[Place]:
    """Returns the layers between which and any start lie no other layer and at most `MOST_ADDITIONS` additions.

    Args:
        starts: The activations.
        users: Returns what directly reads a place.
        is_layer: Tells whether a place is a layer, behind which the walk ends.
        is_addition: Tells whether a place is an addition.
    """
    found, seen, waiting = set[Place](), set[tuple[Place, int]](), [(start, 0) for start in starts]
    while waiting:
        place, additions = waiting.pop()
        for user in users(place):
            state = (user, additions + is_addition(user))
            if is_layer(user):
                found.add(user)
            elif state[1] <= MOST_ADDITIONS and state not in seen:
                seen.add(state)
                waiting.append(state)
    return found
