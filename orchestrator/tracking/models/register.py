"""A network in MLflow's model registry: saved as a pyfunc model of our code and ONNX files, logged and registered.

As in `client`, no global state of MLflow is used: the model is saved into a folder, which MLflow's client then logs.
"""

import shlex
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient, pyfunc
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from orchestrator.store.inventory import find_trial
from orchestrator.store.store import Store
from orchestrator.tracking.backend import Location, check, locate
from orchestrator.tracking.experiments import run_of, shared_experiment
from orchestrator.tracking.models.registered import description, model_name, version_tags
from orchestrator.tracking.moved import follow
from orchestrator.tracking.runs import UID_TAG
from orchestrator.workers.entry_points import export_served
from search_spaces.errors import SweepError, TrackingError, one_line
from search_spaces.files.scratch import scratch_folder
from search_spaces.uris import redact

EXPERIMENT = "exports"
"""Of the runs of networks that have none: nobody tracked their trial there, or somebody else trained them."""
CODE = Path(__file__).with_name("served_model.py")
"""What MLflow keeps with every model, and runs to load it."""
REQUIRED = ("mlflow", "numpy", "onnxruntime", "torch")
"""Packages that answers depend on. dptq-sweep is not named: of that name no public index has it, or somebody else's."""


def register(
    storage: str,
    text: str,
    tracking_uri: str | None,
    *,
    name: str | None,
    image_size: tuple[int, int] | None,
    data_dir: Path,
    say: Callable[[str], None],
) -> str:
    """Exports a network, logs it as a model and registers it with its verdict.

    Args:
        storage: Where trials are.
        text: A UID or the URI of a network.
        tracking_uri: Of MLflow; None means the storage's own database.
        name: Of the registered model; None makes one. One that exists gets a new version.
        image_size: Height and width in pixels; None takes the network's own, 224 where it does not say.
        data_dir: Folder of datasets, which know the names of the classes of a trial.
        say: Takes a line about what the model lacks, and one that says how to serve it.

    Returns:
        The URI of the version, `models:/NAME/VERSION`.

    Raises:
        TrackingError: MLflow is not there, or refuses.
        SweepError: One line for whatever is wrong with the network or its export.
    """
    store = Store(storage, create=False)
    location = locate(tracking_uri, store)
    check(location)
    follow(location)
    with scratch_folder() as scratch:
        files = scratch / "network"
        files.mkdir()
        facts = export_served(storage, text, files, image_size=image_size, data_dir=data_dir, say=say)
        kind, _, uid = str(facts["source"]).partition(":")
        trial = find_trial(store, uid) if kind == "trial" else None
        name = name or model_name(facts, trial.recipe() if trial else None)
        tags = version_tags(facts, trial)
        try:
            client = MlflowClient(tracking_uri=location.uri, registry_uri=location.uri)
            run = (run_of(client, store.read_id(), uid) if trial else None) or _new_run(client, location, name, tags)
            model = _log(client, run, name, facts, tags, files)
            registered = _new_version(client, model, name, tags, description(facts, trial))
        except SweepError:
            raise
        except Exception as error:
            # MLflow's own errors quote the URL they called; the original is cut off with its credentials.
            reason = redact(one_line(error))[:400].rstrip(".")
            raise TrackingError(f"MLflow at {location.address} cannot be used: {reason}.") from None
    place = f"MLFLOW_TRACKING_URI={shlex.quote(location.address)}"
    say(f"registered {registered}: {place} mlflow models serve -m {registered} --env-manager local")
    return registered


def signature_of(facts: Mapping[str, Any]) -> ModelSignature:
    """Returns what a model takes and gives, and how a request can choose bits."""
    height, width = facts["image_size"]
    wish = (
        ParamSpec("full_precision", DataType.boolean, False)
        if facts["budget"]
        else ParamSpec("bit_width", DataType.long, 0)
    )
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 3, height, width), "images")]),
        outputs=Schema(
            [
                TensorSpec(np.dtype("float32"), (-1, facts["num_classes"]), "probabilities"),
                TensorSpec(np.dtype("int64"), (-1, len(facts["sites"])), "bit_widths"),
                TensorSpec(np.dtype("int64"), (-1,), "predicted"),
            ]
        ),
        params=ParamSchema([wish]),
    )


def _new_run(client: MlflowClient, location: Location, name: str, tags: Mapping[str, str]) -> Run:
    """Creates a run for a network that has none."""
    # Without the uid: this is not the run that tells of the trial.
    own_tags = {key: value for key, value in tags.items() if key != UID_TAG}
    run = client.create_run(shared_experiment(client, location, EXPERIMENT), tags=own_tags, run_name=name)
    client.set_terminated(run.info.run_id)
    return run


def _log(
    client: MlflowClient, run: Run, name: str, facts: Mapping[str, Any], tags: Mapping[str, str], files: Path
) -> LoggedModel:
    """Logs the model as an output of a run."""
    run_id = run.info.run_id
    model = client.create_logged_model(
        run.info.experiment_id, name=name, source_run_id=run_id, tags=dict(tags), model_type="classifier"
    )
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        with scratch_folder() as scratch:
            saved = scratch / "model"
            _save(saved, facts, files, Model(run_id=run_id, model_uuid=model.model_id, model_id=model.model_id))
            client.log_model_artifacts(model.model_id, str(saved))
    except BaseException:
        with suppress(Exception):
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _save(path: Path, facts: Mapping[str, Any], files: Path, model: Model) -> None:
    """Writes the model as a folder, whose code is a copy of ours."""
    with warnings.catch_warnings():
        # MLflow wants types of a kind that it would make another signature of.
        warnings.filterwarnings("ignore", message=".*type hint", category=UserWarning)
        pyfunc.save_model(
            str(path),
            python_model=str(CODE),
            artifacts={"network": str(files)},
            signature=signature_of(facts),
            input_example={"images": np.zeros((1, 3, *facts["image_size"]), np.float32)},
            pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in REQUIRED],
            metadata=dict(facts),
            mlflow_model=model,
        )


def _new_version(client: MlflowClient, model: LoggedModel, name: str, tags: Mapping[str, str], text: str) -> str:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name,
        # `models:/ID` would be looked up at MLflow's global URI.
        source=model.artifact_location,
        run_id=model.source_run_id,
        tags=dict(tags),
        description=text,
        model_id=model.model_id,
    )
    return f"models:/{made.name}/{made.version}"
