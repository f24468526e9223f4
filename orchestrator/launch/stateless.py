"""A searcher for Ray Tune that keeps nothing between launches: a relaunch reads the store."""

from typing import Any

from ray.tune.search import Searcher

FINISHED: str = Searcher.FINISHED
"""What a searcher answers when nothing more will come."""


class StatelessSearcher(Searcher):  # type: ignore[misc]  # ray ships no types we check
    """Base of a searcher of which Tune has nothing to save."""

    def __getstate__(self) -> dict[str, Any]:
        """Gives Tune nothing to pickle: it would do so for a restore that never happens here."""
        return {}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignores intermediate results: the store has them."""

    def save(self, checkpoint_path: str) -> None:
        """Saves nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restores nothing."""
