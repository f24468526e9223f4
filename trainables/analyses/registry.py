"""Finds the function of an analysis."""

from collections.abc import Callable, Sequence

from search_spaces.analyses import Analysis
from trainables.analyses.corruptions import corruptions
from trainables.analyses.cross_policy import cross_policy
from trainables.analyses.histograms import histograms
from trainables.analyses.indicators import indicators
from trainables.analyses.layers import layers
from trainables.analyses.mitigation import mitigation
from trainables.analyses.trained_pair import Subject, Unit
from trainables.analyses.transitory import transitory

FUNCTIONS: dict[str, Callable[..., list[Unit]]] = {
    function.__name__: function
    for function in (cross_policy, transitory, layers, histograms, corruptions, mitigation, indicators)
}


def units_of(analysis: Analysis, subjects: Sequence[Subject]) -> list[Unit]:
    """Returns the units of an analysis.

    Args:
        analysis: Its settings.
        subjects: The pair, or the robust and the detrimental pair where it compares both.
    """
    return FUNCTIONS[analysis.name](analysis, *subjects)
