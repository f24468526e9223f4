"""Options that say how far one launch goes and whom it tells."""

from dataclasses import dataclass

from orchestrator.store.sweep import Caps


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How far one launch goes and whom it tells. `resume` has it again, but for `on_event` and `verify`."""

    caps: Caps
    on_event: str | None
    """Empty if the user wants no events; None if nothing was said."""
    stalled_minutes: float
    verify: bool
    """Compare the files of finished trials with their checksums first."""
