"""The mutants that are accepted: they do the same as the code, or what no test should hold."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.mutants.rooms import ROOT
from tests.mutants.sample import Mutant

LIST = Path(__file__).with_name("accepted.yaml")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A change that may go unnoticed.

    Attributes:
        before: The lines that it replaces, without indentation.
        after: The lines that stand there instead; "*" for any.
    """

    module: str
    before: str
    after: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Tells whether a mutant is this one."""
        is_here = (mutant.module, mutant.before) == (self.module, self.before)
        return is_here and self.after in ("*", mutant.after)


def read_accepted() -> list[Accepted]:
    """Reads the list.

    Raises:
        SystemExit: An entry is of code that is no longer there.
    """
    found = [Accepted(**entry) for entry in yaml.safe_load(LIST.read_text())]
    for entry in found:
        lines = "".join(f"{line.strip()}\n" for line in (ROOT / entry.module).read_text().splitlines())
        if f"\n{entry.before}\n" not in lines:
            raise SystemExit(f"{LIST.name}: {entry.module} has no {entry.before!r} any more: take the entry away.")
    return found
