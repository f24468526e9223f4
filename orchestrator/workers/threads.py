"""Trials beside which no other can run, so that they may take the cores that nobody uses (`--threads`).

One thread is the default. Sums of other parts round differently, so that two machines would give different bits for one
command. Where something else is at work, threads wait long for each other.
"""

from orchestrator.plan import Plan
from orchestrator.store.folder import RECIPE
from orchestrator.store.trial import TrialFolder
from search_spaces.stages.registry import Stage


def lone_trials(plan: Plan) -> set[str]:
    """Returns the uids of the teachers and white boxes beside which no other trial of a plan could run.

    All others start from them, or they from all others. That follows from the plan alone, whatever is done and however
    many machines there are: a launch and a relaunch agree.
    """
    shared = [node for node in plan.nodes if node.stage in (Stage.TEACHER, Stage.DISTILL)]
    lone: set[str] = set()
    for node in shared:
        related = {node.uid, *node.parents}  # a white box has a teacher at most, which has no parent
        for other in plan.nodes:  # parents come before children
            if (related - set(node.parents)).intersection(other.parents):
                related.add(other.uid)
        if len(related) == len(plan.nodes):
            lone.add(node.uid)
    return lone


def threads_of(trial: TrialFolder, *, otherwise: int) -> int:
    """Returns with how many threads a trial was begun, which it keeps; `otherwise` for one that was not begun."""
    content = trial.folder.read_json(RECIPE)
    return otherwise if content is None else int(content.get("num_threads", 1))
