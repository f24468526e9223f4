"""The code of a model in MLflow's registry: MLflow keeps a copy of this file with the model, and runs it to load it.

So nothing is unpickled. What the file imports must be installed where the model is loaded.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from search_spaces.errors import SweepError
from trainables.deployment.served import ServedNetwork


class Answers:
    """Answers images with probabilities, the bits that were chosen and the class.

    Apart from MLflow's class, which asks classes of its own with a `predict` for types that it makes signatures of.
    """

    network: ServedNetwork

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the files of the model; MLflow calls it once."""
        self.network = ServedNetwork(Path(context.artifacts["network"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Runs the network; what it takes, gives and lets choose is `signature_of` in `register`."""
        wishes: dict[str, Any] = params or {}
        bit_width: int | None = 0 if wishes.get("full_precision") else wishes.get("bit_width")
        images_BCHW: np.ndarray = model_input["images"]
        try:
            served = self.network.answer(images_BCHW, bit_width=bit_width)
        except SweepError as error:
            # The server shows the text of this kind of error only.
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return {
            "probabilities": served.probabilities_BK,
            "bit_widths": served.bit_width_BL,
            "predicted": served.predicted_B,
        }


class ServedModel(Answers, PythonModel):  # type: ignore[misc]  # MLflow has no types
    """What MLflow serves."""


set_model(ServedModel())
