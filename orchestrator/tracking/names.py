"""Names of runs: MLflow cuts them off in lists and legends, so what tells two runs apart stands in 20 letters."""

from orchestrator.analyses.tasks import AnalysisTask
from orchestrator.plan import Node, Plan
from search_spaces.stages.registry import Stage

LETTERS = 20
"""That a list of MLflow shows of a name."""
_BOTH = "both"


def run_names(plan: Plan) -> dict[str, str]:
    """Returns the names of all trials of a plan, by uid."""
    names_sets = _names_option_sets(plan)
    return {node.uid: _trial_name(node, names_sets=names_sets) for node in plan.nodes}


def analysis_name(task: AnalysisTask, plan: Plan) -> str:
    """Returns the name of an analysis, that of its pair first: `A60 s0 det layers · test_resnet`."""
    pair = task.subjects[-1]
    marks = [_budget(pair.option_set, pair.budget_level, pair.budget, names_set=_names_option_sets(plan))]
    marks += [f"s{pair.seed}", *([f"#{pair.trial_number}"] if pair.trial_number else [])]
    goal = str(pair.goal) if len(task.subjects) == 1 else _BOTH
    return f"{' '.join(marks)} {goal[:3]} {task.analysis.name} · {pair.architecture}"


def _names_option_sets(plan: Plan) -> bool:
    return len({cell.option_set for cell in plan.grid.cells}) > 1


def _trial_name(node: Node, *, names_sets: bool) -> str:
    if node.cell is None:
        return _name_outside_cells(node)
    cell = node.cell
    budget = _budget(cell.option_set, cell.budget_level, cell.recipe.budget, names_set=names_sets)
    seed = f"s{cell.seed}"
    if node.is_confirmation:
        seed += f" confirm{node.trial_number - cell.search_trials}"
    elif cell.search_trials:
        seed += f" #{node.trial_number}"
    name = f"{budget} {cell.goal} {seed}"
    # Longer ones end with the word of which a letter is enough.
    return f"{name if len(name) <= LETTERS else f'{budget} {seed} {cell.goal}'} · {cell.architecture}"


def _name_outside_cells(node: Node) -> str:
    """Names what no cell has: `distill s1 · resnet18`, the rung of an assessment, its parts."""
    stage, architecture, *rest = node.name.split("/")
    if node.rung:
        return f"{node.rung} · {architecture}"
    if node.stage is Stage.ASSESS:
        return f"{' '.join(rest)} · {architecture}"
    return f"{stage}{f' s{node.seed}' if rest else ''} · {architecture}"


def _budget(option_set: str, level: str, bits: int, *, names_set: bool) -> str:
    """Names a budget; one without a level is called after its bits.

    Examples:
        >>> _budget("I", "A", 60, names_set=False), _budget("III", "96b", 96, names_set=True)
        ('A60', 'III-96b')
    """
    budget = level if level == f"{bits}b" else f"{level}{bits}"
    return f"{option_set}-{budget}" if names_set else budget
