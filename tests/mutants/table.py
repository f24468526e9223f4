"""What a run found, as text: survivors with their lines, and a table of rooms."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.mutants.rooms import ROOMS
from tests.mutants.sample import Mutant
from tests.mutants.worker import Outcome


@dataclass(frozen=True, slots=True)
class Judged:
    """A mutant and what became of it.

    Attributes:
        accepted: Why it may go unnoticed, "" where it may not.
    """

    mutant: Mutant
    outcome: Outcome
    accepted: str = ""

    def is_noticed(self) -> bool:
        """Tells whether a test failed, or did not end."""
        return self.outcome.has_noticed

    def is_accepted(self) -> bool:
        """Tells whether it went unnoticed, and may."""
        return not self.is_noticed() and bool(self.accepted)

    def line(self) -> str:
        """Returns a line of progress."""
        mutant, outcome = self.mutant, self.outcome
        ending = "its time" if outcome.is_late else outcome.by or f"exit status {outcome.code}"
        word = f"noticed by {ending}" if self.is_noticed() else "not noticed"
        return f"{outcome.processor:5.1f} s {mutant.module}:{mutant.line} {mutant.operator.split('/')[1]}: {word}"


def survivors_text(judged: Sequence[Judged]) -> str:
    """Returns the mutants that went unnoticed: file, line, and what was changed."""
    entries = []
    for one in sorted(judged, key=lambda one: (one.mutant.module, one.mutant.line)):
        if not one.is_noticed():
            why = f" (accepted: {one.accepted})" if one.accepted else ""
            changed = [f"  - {line}" for line in one.mutant.before.split("\n")]
            changed += [f"  + {line}" for line in one.mutant.after.split("\n")]
            entries.append("\n".join((f"{one.mutant.module}:{one.mutant.line}{why}", *changed)))
    return "\n\nUnnoticed:\n\n" + "\n".join(entries) + "\n"


def table(judged: Sequence[Judged], seed: int, minutes: float) -> str:
    """Returns the counts by room, in Markdown; minutes are of the processor."""
    names = ("Room", "Mutants", "Noticed", "of them late", "Accepted", "Survivors", "Noticed", "without accepted")
    head = f"| {' | '.join(names)} | Minutes |"
    rooms = {name: [one for one in judged if one.mutant.room == name] for name in ROOMS}
    rows = [_row(name, group) for name, group in rooms.items() if group]
    total = _row("all", judged)
    return "\n".join((f"Seed {seed}, {minutes:.1f} minutes:\n", head, "|" + "---|" * head.count(" |"), *rows, total))


def _row(name: str, group: Sequence[Judged]) -> str:
    noticed = sum(map(Judged.is_noticed, group))
    late = sum(one.outcome.is_late for one in group)
    accepted = sum(map(Judged.is_accepted, group))
    survivors = len(group) - noticed - accepted
    shares = f"{noticed / len(group):.1%} | {noticed / max(1, len(group) - accepted):.1%}"
    minutes = sum(one.outcome.processor for one in group) / 60
    return f"| {name} | {len(group)} | {noticed} | {late} | {accepted} | {survivors} | {shares} | {minutes:.1f} |"
