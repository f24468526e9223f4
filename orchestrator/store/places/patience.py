"""How long a storage that does not answer is asked again: every call to an object store passes through here."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 300.0
"""Time for which a launch and its workers wait for a storage that went away."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0


class AwayError(OSError):
    """The storage did not answer, or said that it cannot now; the same call may succeed later."""


class Patience:
    """Asks again while a storage is away, for all threads of a process together, and says so once.

    An outage lasts from the first call that fails to the first one that succeeds. One that lasts too long ends every
    call with the error of its last try, also those that are made later: the end of a launch then takes no minutes more.
    """

    def __init__(self, seconds: float = 0.0, say: Callable[[str], None] = lambda line: None) -> None:
        """Waits for so long, nothing by default; `say` takes a line when an outage begins, and one when it is over."""
        self.seconds, self.say = seconds, say
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self._given_up: AwayError | None = None
        self._tried_at = 0.0

    def ask(self, call: Callable[[], T], name: str) -> T:
        """Calls until the storage answers; `name` says which storage it is.

        Raises:
            AwayError: It did not for too long.
        """
        pause = FIRST_PAUSE_SECONDS
        # What is asked once nobody waits any more, as at the end of a launch, takes no time for every file.
        if self._given_up and time.monotonic() - self._tried_at < LONGEST_PAUSE_SECONDS:
            raise self._given_up
        while True:
            try:
                answer = call()
            except AwayError as error:
                left = self._left(name, error)
                if left <= 0:
                    self._tried_at, self._given_up = time.monotonic(), error if self.seconds else None
                    raise
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self._answered(name)
                return answer

    def _left(self, name: str, error: AwayError) -> float:
        """Notes a failure, and returns the seconds for which calls are still tried again."""
        now = time.monotonic()
        with self._lock:
            is_first = self._away_since is None
            since = self._away_since = now if self._away_since is None else self._away_since
        if is_first and self.seconds:
            self.say(f"{name} does not answer ({error}): asking again for {self.seconds:g} s; nothing new starts")
        return since + self.seconds - now

    def _answered(self, name: str) -> None:
        if self._away_since is None:
            return
        with self._lock:
            was_away, self._away_since, self._given_up = self._away_since is not None, None, None
        if was_away and self.seconds:
            self.say(f"{name} answers again")
