"""What a trial of each stage asks of Ray: one core, and a share of a GPU where the cluster has any."""

from collections.abc import Mapping

# Shares by which stages pack on one GPU. A teacher (ResNet50 at 224 px, batches of 128) fills one; a distillation or a
# pair (ResNet18 at 224 px, batches of 256 and 64) leaves room for a second trial beside it.
GPU_SHARE: dict[str, float] = {"teacher": 1.0, "distill": 0.5, "pair": 0.5}
CPUS_PER_TRIAL = 1


def trial_resources(stage: str, cluster_resources: Mapping[str, float], *, whole_gpu: bool = False) -> dict[str, float]:
    """Returns what a trial of a stage asks for.

    Args:
        stage: `teacher`, `distill` or `pair`.
        cluster_resources: As `ray.cluster_resources()` tells them.
        whole_gpu: Share with nobody, because a share was too small.

    Examples:
        >>> trial_resources("pair", {"CPU": 2.0})
        {'cpu': 1}
        >>> trial_resources("pair", {"CPU": 16.0, "GPU": 1.0})
        {'cpu': 1, 'gpu': 0.5}
    """
    resources: dict[str, float] = {"cpu": CPUS_PER_TRIAL}
    if cluster_resources.get("GPU", 0) > 0:
        resources["gpu"] = 1.0 if whole_gpu else GPU_SHARE[stage]
    return resources


def analysis_resources(cluster_resources: Mapping[str, float]) -> dict[str, float]:
    """Returns what an analysis asks of Ray, in the words of `ray.remote`.

    Examples:
        >>> analysis_resources({"CPU": 16.0, "GPU": 1.0})
        {'num_cpus': 1, 'num_gpus': 0.5}
    """
    # Forward passes only: what a pair trains in has room for them.
    resources = trial_resources("pair", cluster_resources)
    return {f"num_{name}s": amount for name, amount in resources.items()}


def max_concurrent_trials(cluster_resources: Mapping[str, float]) -> int:
    """Returns how many trials the cluster can run at once, at most.

    Examples:
        >>> max_concurrent_trials({"CPU": 16.0, "GPU": 2.0})
        4
    """
    by_cpu = int(cluster_resources.get("CPU", 0)) // CPUS_PER_TRIAL
    gpus = cluster_resources.get("GPU", 0)
    return max(1, min(by_cpu, int(gpus / min(GPU_SHARE.values())))) if gpus else max(1, by_cpu)
