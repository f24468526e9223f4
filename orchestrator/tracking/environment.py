"""What MLflow reads from the environment; set before it is imported, by what may never import it."""

import os

_ENVIRONMENT = {
    # A POST that is repeated after a timeout may have worked the first time: it would create a second run.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # The project in whose folder somebody exports a model is no part of the model.
    "MLFLOW_UV_AUTO_DETECT": "false",
}
_DEFAULT_ENVIRONMENT = {
    # Read when MLflow is imported, which would otherwise write an installation id below the home directory.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Of the server that `ui` starts: ten processes of 200 MB that would evaluate language models.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def quiet_mlflow() -> None:
    """Sets what MLflow reads from the environment: no long retries, no chatter, no telemetry."""
    os.environ.update(_ENVIRONMENT)
    for name, value in _DEFAULT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
