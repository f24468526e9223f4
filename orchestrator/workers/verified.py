"""The end of a trial of an assessment in its worker: what was measured, or trained, runs in ONNX Runtime, too."""

from collections.abc import Collection
from typing import Any

from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from orchestrator.store.verification import write_verification
from orchestrator.workers.given_networks import trial_reader
from search_spaces.errors import ConfigError
from search_spaces.recipes import PairRecipe
from search_spaces.stages.assessment import AssessRecipe
from trainables.deployment.assessed import verify_network, verify_pair
from trainables.stage_runner import Trial, checkpoint_bytes
from trainables.training_loop import StageResult


def verify_result(
    store: Store,
    trial: TrialFolder,
    running: Trial,
    result: StageResult,
    num_images: int,
    *,
    typed_models: Collection[str] = (),
) -> None:
    """Runs the network of a trial in ONNX Runtime, on its first test images, and keeps what was found beside the trial.

    Args:
        store: Where trials are.
        trial: The part about a network itself, at 8 bits; or a pair, at the bits of its policy.
        running: The same in this worker.
        result: What came of it; it is not in the store yet.
        num_images: Most test images to run.
        typed_models: URIs of networks that the user typed in this command.
    """
    recipe, read_trial = running.recipe, trial_reader(store)
    assert isinstance(recipe, (AssessRecipe, PairRecipe)), f"stage {trial.stage} has no network to verify"
    try:
        if isinstance(recipe, AssessRecipe):
            given = running.open(recipe.model, typed_models, read_trial)
            found = verify_network(recipe, given, running.data, num_images)
        else:
            trained = running.subject(
                parent=None,
                checkpoint=checkpoint_bytes(result),
                source=trial.folder.root,
                typed_models=typed_models,
                read_trial=read_trial,
            )
            found = verify_pair(trained.pair, running.data, num_images)
    # What cannot be exported is assessed all the same.
    except ConfigError as error:
        write_verification(trial, None, error=str(error))
        return
    facts: dict[str, Any] = {"source": recipe.given.uri if recipe.given else "", "architecture": recipe.architecture}
    write_verification(trial, found.as_json() | {"of": facts | {"dataset": running.dataset.title}})
