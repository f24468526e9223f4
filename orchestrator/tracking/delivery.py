"""What a launch has to tell MLflow, by one thread: a slow server neither fills the memory nor holds up the end."""

import threading
from collections.abc import Callable
from queue import Full, Queue

Action = Callable[[], None]
MOST_WAITING = 10_000
"""Actions that wait; what comes beyond is dropped, and replayed from the store in the end."""
STUCK_SECONDS = 180.0
"""Without any action done, after which a server counts as one that does not come back."""


class Delivery:
    """A bounded queue that one thread serves."""

    def __init__(self, serve: Callable[[Action], object], *, most: int = MOST_WAITING) -> None:
        """Takes what does an action, and how many may wait."""
        self._serve, self._queue = serve, Queue[Action | None](most)
        self._thread: threading.Thread | None = None
        self._num_served = 0

    def start(self) -> None:
        """Starts the thread; what was put before is served, too."""
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def put(self, action: Action) -> None:
        """Adds an action and returns at once; drops it if too many wait."""
        try:
            self._queue.put_nowait(action)
        except Full:
            pass  # whatever MLflow lacks at the end is replayed

    def drain(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        """Waits until everything was served, and ends the thread; False, and the thread is left, if it is stuck."""
        if self._thread is None:
            return True
        is_last, before = False, -1
        while self._thread.is_alive():
            if before == self._num_served:
                return False
            before = self._num_served
            try:
                if not is_last:
                    self._queue.put(None, timeout=stuck_seconds)
                is_last = True
            except Full:
                continue
            self._thread.join(stuck_seconds)
        self._thread = None
        return True

    def _run(self) -> None:
        while (action := self._queue.get()) is not None:
            self._serve(action)
            self._num_served += 1
