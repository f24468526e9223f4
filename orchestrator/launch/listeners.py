"""Who hears what happens to the trials of a launch: progress, MLflow, caps, events. None of them can end it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.progress_reporter import TrialProgressCallback

from orchestrator.plan import Node
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.records import TrialRecord
from orchestrator.store.trial import ROW
from search_spaces.errors import one_line


class Listener(Protocol):
    """Hears what happens to the trials of a launch."""

    def started(self, node: Node, record: TrialRecord | None) -> None:
        """A trial was handed to a worker; `record` says what it runs."""

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""

    def ended(self, node: Node) -> None:
        """A trial ended, well or badly; its folder says how."""


class Silent(TrialProgressCallback):  # type: ignore[misc]  # ray ships no types
    """In the place of Tune's own, which says `Trial ... completed` between our lines however quiet it is to be."""

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """Says nothing."""


class Relay(tune.Callback):  # type: ignore[misc]  # ray ships no types
    """Turns Tune's callbacks into a launch's events; what a listener makes of them ends no launch."""

    def __init__(self, snapshot: Snapshot, listeners: Sequence[Listener], forgiving: "Forgiving") -> None:
        """Tells listeners of the trials of a snapshot."""
        self._nodes, self._snapshot, self._listeners = snapshot.plan.by_uid(), snapshot, listeners
        self._forgiving = forgiving

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that never happens here; listeners hold locks and terminals.
        return {}

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """Tells that a trial was handed to a worker."""
        node = self._nodes[trial.config["uid"]]
        self._tell(lambda listener: listener.started(node, self._snapshot.trial(node).recipe()))

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Tells of an epoch."""
        # Tune calls it done when a scheduler ends the trial; the last result, repeated when a function returns, does
        # not come here.
        if ROW in result:
            self._tell(lambda listener: listener.epoch(self._nodes[trial.config["uid"]], result[ROW]))

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """Tells that a trial ended, well or badly."""
        self._tell(lambda listener: listener.ended(self._nodes[trial.config["uid"]]))

    on_trial_error = on_trial_complete

    def _tell(self, event: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            with self._forgiving(type(listener).__name__.lower()):
                event(listener)


class Forgiving:
    """Lets a launch go on without what only listens to it, and says so once of each."""

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        """`say` takes a line."""
        self._say, self._failed = say, set[str]()

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Ends with a line, not with an error, what fails in a `with` block; `what` names it."""
        try:
            yield
        except Exception as error:
            if what not in self._failed:
                self._failed.add(what)
                self._say(f"{what} failed, and the launch goes on without it: {one_line(error)}")
