"""Finds the selection of a recipe."""

from collections.abc import Callable

from search_spaces.names import SELECTIONS
from search_spaces.recipes import PairRecipe
from trainables.stages.selections.base import Selection
from trainables.stages.selections.gumbel import Gumbel
from trainables.stages.selections.knapsack import Knapsack
from trainables.stages.selections.penalty import Penalty
from trainables.stages.selections.reinforce import Reinforce
from trainables.stages.selections.static import Static

_KINDS: dict[str, Callable[[PairRecipe], Selection]] = {
    "knapsack": Knapsack,
    "static": Static,
    "gumbel": Gumbel,
    "penalty": Penalty,
    "reinforce": Reinforce,
}


def selection_of(recipe: PairRecipe) -> Selection:
    """Returns how a pair chooses its bits."""
    return _KINDS[recipe.selection or SELECTIONS[0]](recipe)
