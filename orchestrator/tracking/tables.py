"""Tables that MLflow shows: JSON of one form, and a tag of the run that names the files."""

import json

import pandas as pd

TABLES_TAG = "mlflow.loggedArtifacts"
"""By which MLflow's pages know that a JSON file is a table."""


def table_json(table: pd.DataFrame) -> bytes:
    """Returns a table in the form of `mlflow.log_table`."""
    return table.to_json(orient="split", index=False, double_precision=10).encode()


def tables_tag(names: list[str]) -> str:
    """Returns the value of the tag that names files of `table_json`."""
    return json.dumps([{"path": name, "type": "table"} for name in names])
