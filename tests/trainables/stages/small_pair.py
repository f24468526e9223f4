"""A pair that trains in seconds, for tests to vary."""

from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe

SMALL_PAIR = PairRecipe(
    architecture="test_resnet",
    goal=Goal.DETRIMENTAL,
    budget=82,
    epochs=1,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.02,
    weight_decay=1e-4,
)
