"""What a report and MLflow should know of the circumstances: versions, machine, code and seeds."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from orchestrator.plan import Plan
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
    if commit := _git_commit():
        facts["mlflow.source.git.commit"] = commit
    return facts


def _git_commit() -> str | None:
    """Returns the commit of a source checkout, None for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
