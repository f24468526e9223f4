"""What a report and MLflow should know of the circumstances: versions, machine, code and seeds."""

import os
import platform
from importlib.metadata import version

from orchestrator.plan import Plan
from orchestrator.provenance import git_commit
from orchestrator.trials import VERSIONED


def sweep_facts(plan: Plan) -> dict[str, str]:
    """Returns the circumstances of a launch as text, in the order to show them."""
    grid = plan.grid
    facts = {
        "grid": grid.name,
        "dataset": grid.dataset.title,
        "seed": " ".join(map(str, grid.seeds)),
        "dptq-sweep": version("dptq-sweep"),
        "python": platform.python_version(),
    }
    facts |= {name: version(name) for name in (*VERSIONED, "mlflow")}
    facts |= {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"}
    if commit := git_commit():
        facts["mlflow.source.git.commit"] = commit
    return facts
