"""Kinds of cluster files, and what is rendered where nothing else is asked for; imports nothing heavy."""

from cluster.providers.registry import PROVIDERS

KINDS = {name: f"{name}.yaml.j2" for name in PROVIDERS} | {
    "local": "local.yaml.j2",
    "rayjob": "rayjob.yaml.j2",
    "raycluster": "raycluster.yaml.j2",
    "slurm": "slurm.sh.j2",
    "dockerfile": "Dockerfile.j2",
}
"""What can be rendered, and from which template."""
WITH_A_SWEEP = ("rayjob", "slurm")
"""Files that carry the command which they run; clusters of the other kinds are sent one."""
DEFAULT_NAME = "dptq-sweep"
DEFAULT_SWEEP = ("launch", "--grid", "full")
