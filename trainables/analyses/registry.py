"""Finds the function of an analysis: the module and the function have its name."""

from collections.abc import Sequence
from importlib import import_module

from search_spaces.analyses import Analysis
from trainables.analyses.trained_pair import Subject, Unit


def units_of(analysis: Analysis, subjects: Sequence[Subject]) -> list[Unit]:
    """Returns the units of an analysis.

    Args:
        analysis: Its settings.
        subjects: The pair, or the robust and the detrimental pair where it compares both.
    """
    function = getattr(import_module(f"trainables.analyses.{analysis.name}"), analysis.name)
    units: list[Unit] = function(analysis, *subjects)
    return units
