"""The figure of an assessment: accuracy by rung and budget, with intervals."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.reports.assessment.tables import TITLES
from orchestrator.reports.drawing import DASHES, DETRIMENTAL, INK, ROBUST, panels, style
from trainables.assessment.record import Assessment, Rung

_BENIGN = ("fp", "int8", "file", "uniform", "random", "best_static", "policy_robust")


def figure_ladder(assessment: Assessment) -> Figure:
    """Draws a panel per budget, from benign rungs above to hostile ones below; what no budget changes is in all."""
    shared = [rung for rung in assessment.rungs if rung.rung in ("fp", "int8", "file")]
    budgets = sorted({rung.budget for rung in assessment.rungs if rung not in shared and rung.budget is not None})
    of_budget = [[*shared, *(r for r in assessment.rungs if r not in shared and r.budget == bits)] for bits in budgets]
    titles = [f"{bits} bits, {bits / assessment.num_sites:.1f} per site" for bits in budgets]
    if not of_budget:
        of_budget, titles = [shared], ["without a budget"]
    most = max(map(len, of_budget))
    with style():
        title = f"{assessment.model.architecture}: what allocations cost"
        figure, axes = panels(titles, panel_height=0.4 + 0.3 * most, title=title, columns=min(3, len(titles)))
        for number, (panel, rungs) in enumerate(zip(axes, of_budget, strict=True)):
            _draw(panel, rungs, has_names=number % 3 == 0)
    return figure


def _draw(panel: Axes, rungs: list[Rung], *, has_names: bool) -> None:
    for place, rung in enumerate(rungs):
        color = ROBUST if rung.rung in _BENIGN else DETRIMENTAL
        low, high = 100 * rung.accuracy_low, 100 * rung.accuracy_high
        panel.plot([low, high], [place, place], color=color, linewidth=2, zorder=2)
        panel.plot(100 * rung.accuracy, place, "o", color=color, markersize=7, zorder=3)
        if rung.worst_draw_accuracy is not None:
            panel.plot(100 * rung.worst_draw_accuracy, place, "|", color=color, markersize=10, zorder=3)
    full = next((rung for rung in rungs if rung.rung == "fp"), None)
    if full:
        panel.axvline(100 * full.accuracy, color=INK, linestyle=DASHES, linewidth=1.1, zorder=1)
    panel.set(ylim=(len(rungs) - 0.45, -0.55), xlim=(-3, 104), xticks=range(0, 101, 20), xlabel="accuracy (%)")
    panel.set_yticks(range(len(rungs)), [TITLES[rung.rung] if has_names else "" for rung in rungs])
    panel.grid(visible=False, axis="y")
