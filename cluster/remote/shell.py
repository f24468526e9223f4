"""Runs the programs that start and end clusters, and says in one line what went wrong with them."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from search_spaces.errors import UnavailableError
from search_spaces.uris import redact

# As a module, because the script `ray` is not on PATH where the environment was not activated.
RAY = (sys.executable, "-m", "ray.scripts.scripts")
KUBECTL = ("kubectl",)
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_UP_enable_autoscaler_v2": "1"}
"""Variables with which Ray's launcher asks nothing and reports nothing; this process's own win over them."""


def check_program(command: Sequence[str]) -> None:
    """Makes sure that a program is there.

    Raises:
        UnavailableError: It is not on the PATH.
    """
    if shutil.which(command[0]) is None:
        raise UnavailableError(
            f"{command[0]} is not on the PATH, and a KubeRay file needs it: install it and let it see the Kubernetes "
            "cluster (`kubectl get nodes`)."
        )


def run(command: Sequence[str]) -> None:
    """Runs a program whose output people read as it comes.

    Raises:
        UnavailableError: It is missing or failed; what it printed says why.
    """
    check_program(command)
    done = subprocess.run(command, check=False, env=ENVIRONMENT | os.environ, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise UnavailableError(
            f"`{_shown(command)}` failed with exit code {done.returncode}: see what it printed above."
        )


def output_of(command: Sequence[str]) -> str:
    """Runs a program and returns what it printed.

    Raises:
        UnavailableError: It is missing or failed; holds the last line of its complaint.
    """
    check_program(command)
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise UnavailableError(f"`{_shown(command)}` failed: {redact(complaint)}")
    return done.stdout


def kubectl_names(kinds: str, selector: str, namespace: str | None) -> list[str]:
    """Asks Kubernetes for the objects with a label, and returns them as `kind/name`.

    Raises:
        UnavailableError: kubectl is missing or failed.
    """
    asked = [*KUBECTL, "get", kinds, *in_namespace(namespace), "--selector", selector]
    return output_of([*asked, "--output", "name", "--ignore-not-found"]).split()


def in_namespace(namespace: str | None) -> list[str]:
    """Returns the options of kubectl for a namespace; none for the one that it is set to."""
    return ["--namespace", namespace] if namespace else []


def _shown(command: Sequence[str]) -> str:
    """Returns a command line as a person would type it."""
    typed = ["ray", *command[len(RAY) :]] if tuple(command[: len(RAY)]) == RAY else command
    return shlex.join(typed)
