"""What people read at the top of a run: what it is and what came of it, in Markdown."""

from orchestrator.plan import Node
from orchestrator.results.pairs import verdict
from orchestrator.store.records import TrialResult
from orchestrator.store.states import State
from search_spaces.names import Goal
from search_spaces.objective import ACCURACIES, accuracies_of
from search_spaces.recipes import PairRecipe
from search_spaces.stages.registry import Stage
from search_spaces.uris import redact

NOTE_TAG = "mlflow.note.content"
"""Where MLflow keeps the description of a run or an experiment."""
LONGEST_NOTE = 8000
"""Characters that MLflow keeps of a tag."""
PREVIEW, TABLE = "preview.png", "table.json"
"""Artifacts that MLflow shows: the curve and the sites of a pair; the figures of an analysis."""
WHAT = {
    Stage.TEACHER: "The black box: a network whose answers teach the white boxes.",
    Stage.DISTILL: "A white box: distilled from the black box, and the start of every pair of its architecture.",
    Stage.PAIR: "A student, trained together with a policy that chooses the bits of its activations.",
    Stage.ASSESS: "A part of an assessment, which trains nothing.",
}


def pair_sentence(result: TrialResult, goal: Goal, budget: str) -> str:
    """Says what came of a pair on the test split, the verdict first.

    Args:
        result: Of the pair.
        goal: What it was trained for.
        budget: What it spends, such as `60 bits per image`.
    """
    accuracies = accuracies_of(result.metrics, "test")
    percent = {name: f"{100 * accuracy:.1f} %" for name, accuracy in accuracies.items()}
    return (
        f"**{verdict(**accuracies)}** ({goal} pair): test accuracy {percent['accuracy_fp']} at full precision "
        f"(white box {percent['accuracy_white_box']}), {percent['accuracy_q']} quantized with {budget}"
    )


def has_accuracies(result: TrialResult) -> bool:
    """Whether the result of a pair says the accuracies that verdicts are made of."""
    return {f"{split}/{name}" for split in ("validation", "test") for name in ACCURACIES} <= set(result.metrics)


def describe_trial(
    node: Node, result: TrialResult | None, state: State, claim: str = "", error: str = "", *, is_drawn: bool = False
) -> str:
    """Returns the description of a trial's run.

    Args:
        node: The trial.
        result: None unless it is done.
        state: How far it is.
        claim: How far the test images show the verdict on a pair; empty where nothing counts them.
        error: Why it failed, in one line.
        is_drawn: Whether the run has a picture of it.
    """
    lines = [_outcome(node, result, state, error)]
    if claim:
        lines[0] += f" Evidence on the test images: {claim}."
    if is_drawn:
        lines.append(f"Artifacts: `{PREVIEW}` shows its training and its sites, `result.json` all its figures.")
    lines.append(f"{WHAT[node.stage]} Trial `{node.uid}` ({node.name}) on {redact(node.dataset.title)}.")
    if result:
        lines.append(f"Train it again and compare: `dptq-sweep reproduce {node.uid}`")
    return "\n\n".join(lines)[:LONGEST_NOTE]


def _outcome(node: Node, result: TrialResult | None, state: State, error: str) -> str:
    if result is None:
        return f"**{state}**{f': {error}' if error else ''}."
    if isinstance(node.recipe, PairRecipe) and has_accuracies(result):
        return f"{pair_sentence(result, node.recipe.goal, f'{node.recipe.budget} bits per image')}."
    if "test/accuracy" in result.metrics:
        return f"Test accuracy **{100 * result.metrics['test/accuracy']:.1f} %** at full precision."
    return "**done**"
