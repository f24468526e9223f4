"""What a trial asks of Ray: one core, and a share of a GPU where the cluster has any."""

from collections.abc import Iterable, Mapping

from search_spaces.stages.registry import STAGES, Stage

GPU_SHARE: dict[str, float] = {stage: traits.gpu_share for stage, traits in STAGES.items()}
"""Shares by stage where a trial's memory could not be measured."""
CPUS_PER_TRIAL = 1
MAX_TRIALS_PER_GPU = 8
"""More trials than this would wait for each other's kernels."""
HEADROOM_PERCENT = 110
"""Memory to reserve, in percent of what was measured: allocators of neighbours fragment differently."""
SHARE_UNITS = 10_000
"""Ray counts a GPU in units of 1/10,000."""


def trials_per_gpu(peak_bytes: int, total_bytes: int, cluster_resources: Mapping[str, float]) -> int:
    """Returns how many trials to pack on one GPU: as many as fit, have a core each, and are not too many.

    Args:
        peak_bytes: Measured peak of one trial.
        total_bytes: Memory of the GPU.
        cluster_resources: As `ray.cluster_resources()` tells them, with at least one GPU.

    Examples:
        >>> trials_per_gpu(10 * 10**9, 80 * 10**9, {"CPU": 16.0, "GPU": 2.0})
        7
        >>> trials_per_gpu(10 * 10**9, 80 * 10**9, {"CPU": 8.0, "GPU": 2.0})
        4
    """
    by_memory = total_bytes * 100 // (peak_bytes * HEADROOM_PERCENT)
    by_cpu = int(cluster_resources.get("CPU", 0) // (cluster_resources["GPU"] * CPUS_PER_TRIAL))
    return max(1, min(by_memory, by_cpu, MAX_TRIALS_PER_GPU))


def share_of(num_trials: int) -> float:
    """Returns the share of a GPU of which exactly `num_trials` fit; rounded down to Ray's units, or one would not.

    Examples:
        >>> share_of(7)
        0.1428
    """
    return SHARE_UNITS // num_trials / SHARE_UNITS


def shares_per_gpu(gpu_share: float) -> int:
    """Returns how many trials of a share fit on a GPU as Ray counts.

    Examples:
        >>> shares_per_gpu(0.4)
        2
    """
    return SHARE_UNITS // round(gpu_share * SHARE_UNITS)


def trial_resources(gpu_share: float, *, whole_gpu: bool = False) -> dict[str, float]:
    """Returns what a trial asks for.

    On a cluster, Ray fills one node before it opens the next where several have room, and a trial is a single bundle,
    so the trials of a white box come to lie side by side as far as there is room, and share the decoded images that
    their machine keeps (`trainables.data.cache`). To bind them to one node for certain would make them wait for it
    while others idle, and all that it could save is one decoding of the dataset per node: checkpoints are small.

    Args:
        gpu_share: Its share of a GPU, 0 where the cluster has none.
        whole_gpu: No sharing, because the share was too small.

    Examples:
        >>> trial_resources(0)
        {'cpu': 1}
        >>> trial_resources(0.25)
        {'cpu': 1, 'gpu': 0.25}
    """
    resources: dict[str, float] = {"cpu": CPUS_PER_TRIAL}
    if gpu_share:
        resources["gpu"] = 1.0 if whole_gpu else gpu_share
    return resources


def as_bundle(resources: Mapping[str, float]) -> dict[str, float]:
    """Returns what a trial asks for in the words of nodes and autoscalers.

    Examples:
        >>> as_bundle(trial_resources(0.25))
        {'CPU': 1, 'GPU': 0.25}
    """
    return {name.upper(): amount for name, amount in resources.items()}


def analysis_resources(cluster_resources: Mapping[str, float]) -> dict[str, float]:
    """Returns what an analysis asks of Ray, in the words of `ray.remote`.

    Examples:
        >>> analysis_resources({"CPU": 16.0, "GPU": 1.0})
        {'num_cpus': 1, 'num_gpus': 0.5}
    """
    # Forward passes only: what a pair trains in has room for them.
    resources = trial_resources(GPU_SHARE[Stage.PAIR] if cluster_resources.get("GPU") else 0)
    return {f"num_{name}s": amount for name, amount in resources.items()}


def max_concurrent_trials(cluster_resources: Mapping[str, float], gpu_shares: Iterable[float]) -> int:
    """Returns how many trials the cluster can run at once, at most.

    Args:
        cluster_resources: As `ray.cluster_resources()` tells them.
        gpu_shares: Of all trials to run; all 0 where the cluster never has a GPU.

    Examples:
        >>> max_concurrent_trials({"CPU": 16.0, "GPU": 2.0}, [1.0, 0.25])
        8
        >>> max_concurrent_trials({"CPU": 2.0}, [0, 0])
        2
    """
    by_cpu = int(cluster_resources.get("CPU", 0)) // CPUS_PER_TRIAL
    smallest = min(gpu_shares, default=0)
    by_gpu = int(cluster_resources.get("GPU", 0)) * shares_per_gpu(smallest) if smallest else by_cpu
    return max(1, min(by_cpu, by_gpu))
