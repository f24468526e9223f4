"""What stands still, by the clock of whoever looks: clocks of machines are never compared."""

import time

MOST_SECONDS_BETWEEN_LOOKS = 5.0
"""A longer pause counts as one of so many: the one who looks may have been frozen together with the others."""


class Standstill:
    """Tells what has not changed for some time."""

    def __init__(self, seconds: float) -> None:
        """Takes how long something may stay the same."""
        self._seconds = seconds
        self._seen: dict[str, tuple[object, float, float]] = {}

    def is_still(self, key: str, content: object) -> bool:
        """Tells whether what was seen at every look under a key is this content, for too long."""
        now = time.monotonic()
        before, looked_at, still = self._seen.get(key, (None, now, 0.0))
        still = still + min(now - looked_at, MOST_SECONDS_BETWEEN_LOOKS) if before == content else 0.0
        self._seen[key] = (content, now, still)
        return still >= self._seconds
