"""What a trial ran with: code, versions, device, data and seeds; env.json in its folder tells `reproduce`."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.plan import Plan
from orchestrator.store.provenance.secrets import without_secrets
from orchestrator.store.trial import VERSIONED

PACKAGES = ("dptq-sweep", "torch", "torchvision", "timm", "numpy", "numba", "pillow", "safetensors", "scikit-learn")
"""Whose versions can change a number."""
COMMIT, DIFF_SHA256 = "DPTQ_GIT_COMMIT", "DPTQ_GIT_DIFF_SHA256"
"""Variables by which the workers of a cluster know the checkout that their code was copied from."""
KEEP_DIFF = "DPTQ_KEEP_DIFF"
"""Variable that keeps the uncommitted diff itself, too, with what looks like a secret blacked out."""
LONGEST_DIFF = 50_000
"""Characters of a diff that are kept; its checksum is of all of it."""
EARLIER = "earlier"
"""Key of an env.json with what earlier attempts ran with whose epochs count."""


def environment(*, device: str, data_sha256: str, seeds: Mapping[str, int]) -> dict[str, Any]:
    """Returns the content of an env.json, as plain values.

    Args:
        device: Name of the processor or GPU.
        data_sha256: Checksum of the decoded data.
        seeds: Every seed that draws anything, by what it is of.
    """
    return {
        **code_state(),
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": device,
        "data_sha256": data_sha256,
        "seeds": dict(seeds),
    }


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def code_state() -> dict[str, str | None]:
    """Returns the commit of a source checkout and what differs from it; None for an installed package.

    Asked once per process: what a worker has imported is the code as it was when the worker started. On a cluster it
    was copied from the checkout of the launch, of which the commit and the checksum of the difference went along.
    """
    if COMMIT in os.environ:
        commit, changed = os.environ[COMMIT], os.environ.get(DIFF_SHA256)
        return {"git_commit": commit, "git_diff_sha256": changed, "git_diff": None}
    diff = _git("diff", "HEAD")
    return {
        "git_commit": git_commit(),
        "git_diff_sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
        "git_diff": without_secrets(diff)[:LONGEST_DIFF] if diff and os.environ.get(KEEP_DIFF) else None,
    }


def with_attempt(before: Mapping[str, Any] | None, facts: Mapping[str, Any], *, first_epoch: int) -> dict[str, Any]:
    """Returns the content of an env.json in which an attempt goes on from others.

    Args:
        before: The content so far.
        facts: What the attempt runs with, from `environment`.
        first_epoch: From which on the epochs are its own.

    Examples:
        >>> then = with_attempt(None, {"git_commit": "a"}, first_epoch=1)
        >>> with_attempt(then, {"git_commit": "b"}, first_epoch=5)
        {'git_commit': 'b', 'first_epoch': 5, 'earlier': [{'git_commit': 'a', 'first_epoch': 1}]}
    """
    # An attempt without any epoch that counts left nothing.
    earlier = [each for each in attempts_of(before or {}) if each.get("first_epoch", 1) < first_epoch]
    return {**facts, "first_epoch": first_epoch} | ({EARLIER: earlier} if earlier else {})


def attempts_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns what every attempt at a trial ran with whose epochs count, the first one first, given its env.json."""
    newest = {name: value for name, value in content.items() if name != EARLIER}
    return [*content.get(EARLIER, ()), *([newest] if newest else [])]


def code_names(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Names the code that the epochs of a trial ran with, each version once, given its env.json.

    Examples:
        >>> code_names({"git_commit": "c0ffee0123456789", "git_diff_sha256": "0123456789abcdef"})
        ('c0ffee012345+01234567',)
        >>> code_names({"versions": {"dptq-sweep": "0.1.0"}})
        ('dptq-sweep 0.1.0',)
    """
    return tuple(dict.fromkeys(_code_name(each) for each in attempts_of(content)))


def _code_name(facts: Mapping[str, Any]) -> str:
    commit, changed = facts.get("git_commit"), facts.get("git_diff_sha256")
    if not commit:
        return f"dptq-sweep {facts.get('versions', {}).get('dptq-sweep', 'unknown')}"
    return f"{commit[:12]}+{changed[:8]}" if changed else str(commit[:12])


def code_variables() -> dict[str, str]:
    """Returns the variables by which `code_state` is the same where the code is copied to."""
    state = code_state()
    known = {COMMIT: state["git_commit"], DIFF_SHA256: state["git_diff_sha256"]}
    return {name: value for name, value in known.items() if value is not None}


def git_commit() -> str | None:
    """Returns the commit of a source checkout, also of one that the code was copied from; None without one."""
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    found = _git("rev-parse", "HEAD")
    return found.strip() if found else None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Tells in one line each what two environments differ in, leaving out seeds, which belong to the trial.

    Examples:
        >>> differences({"versions": {"torch": "2.14"}}, {"versions": {"torch": "2.15"}})
        ['torch: 2.14 then, 2.15 now']
    """
    shown = ("git_commit", "git_diff_sha256", "machine", "device", "data_sha256")
    pairs = [(name, before.get(name), now.get(name)) for name in shown]
    old, new = before.get("versions", {}), now.get("versions", {})
    pairs += [(name, old.get(name), new.get(name)) for name in {**old, **new}]
    return [f"{name}: {then or 'none'} then, {today or 'none'} now" for name, then, today in pairs if then != today]


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode(errors="replace")


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
