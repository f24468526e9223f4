"""Checks of RayJob and RayCluster manifests: their fields, what KubeRay's operator refuses, and what a sweep needs."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from cluster.files.node_types import GPU, INSTANCE_TYPE
from cluster.files.render import IDLE_MINUTES
from cluster.files.versions import Versions
from cluster.providers.registry import PROVIDERS, spot_label
from cluster.validation.findings import Finding, joined, schema_findings
from cluster.validation.kuberay_schema import SCHEMAS
from cluster.validation.software import check_image, check_storage
from search_spaces.errors import ConfigError
from search_spaces.files.yaml_files import parse_documents

Manifest = Mapping[str, Any]
Schemas = Mapping[str, Mapping[str, Any]]
KINDS = tuple(SCHEMAS)
IDLE_SECONDS = IDLE_MINUTES * 60
_MAX_NAME = 47
"""Of a RayJob; the operator appends to it."""


def check_manifests(documents: Sequence[Any], versions: Versions, own: Schemas) -> list[Finding]:
    """Returns what is wrong with the manifests of a file; the operator's own schemas, by kind, win over ours.

    What is neither RayJob nor RayCluster is Kubernetes' business, save MLflow.
    """
    findings: list[Finding] = []
    for manifest in documents:
        kind = manifest.get("kind") if isinstance(manifest, dict) else None
        if kind in KINDS:
            findings += _check_ray_manifest(manifest, versions, own)
        elif kind == "Deployment":
            findings += _check_mlflow(manifest)
    return findings


def _check_ray_manifest(manifest: Manifest, versions: Versions, own: Schemas) -> list[Finding]:
    kind = manifest["kind"]
    reader = "the operator's definition" if kind in own else f"KubeRay's {kind}"
    findings = list(schema_findings(manifest, own.get(kind, SCHEMAS[kind]), reader=reader))
    if findings:
        return findings  # what follows relies on the kinds of values
    findings = list(_check_name(manifest["metadata"]["name"]))
    spec = manifest["spec"]
    if kind == "RayCluster":
        return findings + list(_check_cluster(spec, versions, place="spec"))
    findings += [*_check_job(spec), *_check_end(spec)]
    if "rayClusterSpec" in spec:
        findings += _check_cluster(spec["rayClusterSpec"], versions, "spec.rayClusterSpec", spec["entrypoint"])
    return findings


def _check_name(name: str) -> Iterator[Finding]:
    if len(name) > _MAX_NAME or not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name):
        yield Finding(
            "metadata.name",
            f"{name!r} is refused: write up to {_MAX_NAME} lower-case letters, digits and '-', a letter first.",
        )


def _check_job(spec: Manifest) -> Iterator[Finding]:
    selector = spec.get("clusterSelector")
    if not selector and "rayClusterSpec" not in spec:
        yield Finding("spec", "neither rayClusterSpec nor clusterSelector: say on which Ray cluster the job runs.")
    for field in ("rayClusterSpec", "backoffLimit", "suspend"):
        if selector and spec.get(field):
            yield Finding(
                joined("spec", field), "does not go together with clusterSelector: that cluster has a life of its own."
            )
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(field, 1) <= 0:
            yield Finding(joined("spec", field), f"{spec[field]} seconds: a deadline is above 0, or left out.")
    if spec.get("backoffLimit", 0) < 0:
        yield Finding("spec.backoffLimit", f"{spec['backoffLimit']}: retries are 0 or more.")
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield Finding("spec.suspend", "needs shutdownAfterJobFinishes: true.")
    if "runtimeEnvYAML" in spec:
        yield from _check_runtime_env(spec["runtimeEnvYAML"])


def _check_end(spec: Manifest) -> Iterator[Finding]:
    """What becomes of the Ray cluster when the job is over."""
    shuts_down, ttl = spec.get("shutdownAfterJobFinishes", False), spec.get("ttlSecondsAfterFinished", 0)
    if ttl < 0:
        yield Finding("spec.ttlSecondsAfterFinished", f"{ttl} seconds: write 0 or more.")
    if ttl > 0 and not shuts_down:
        yield Finding("spec.ttlSecondsAfterFinished", f"{ttl} has no effect without shutdownAfterJobFinishes: true.")
    elif not shuts_down and not spec.get("deletionStrategy") and "rayClusterSpec" in spec:
        yield Finding(
            "spec.shutdownAfterJobFinishes", "the Ray cluster would outlive its job, and be paid for: write true."
        )
    if shuts_down and spec.get("deletionStrategy"):
        yield Finding("spec.deletionStrategy", "does not go together with shutdownAfterJobFinishes: keep one of them.")


def _check_runtime_env(text: str) -> Iterator[Finding]:
    place = "spec.runtimeEnvYAML"
    try:
        documents = parse_documents(text, what="the text")
    except ConfigError as error:
        yield Finding(place, str(error))
        return
    if len(documents) != 1 or not isinstance(documents[0], dict):
        yield Finding(place, "is text that holds a YAML mapping, such as `env_vars: {A: b}` below a `|`.")


def _check_cluster(spec: Manifest, versions: Versions, place: str, entrypoint: str = "") -> Iterator[Finding]:
    if spec.get("rayVersion") != versions.ray:
        yield Finding(
            joined(place, "rayVersion"),
            f"{spec.get('rayVersion')!r} is not {versions.ray}, which is installed here, and machines of one cluster "
            "must agree.",
        )
    if "authOptions" not in spec:
        yield Finding(
            joined(place, "authOptions"),
            "is missing: anyone who reaches the head could run code on it. Write mode: token (or mode: disabled).",
        )
    yield from _check_scaling(spec, place)
    head = joined(place, "headGroupSpec"), spec["headGroupSpec"]
    yield from _check_head(*head, entrypoint)
    groups = spec.get("workerGroupSpecs", ())
    workers = [(joined(place, "workerGroupSpecs", position), group) for position, group in enumerate(groups)]
    names: set[str] = set()
    for where, group in workers:
        yield from _check_worker_group(where, group, names)
        names.add(group["groupName"])
    for where, group in (head, *workers):
        for position, container in enumerate(group["template"]["spec"]["containers"]):
            image = joined(where, "template", "spec", "containers", position, "image")
            yield from check_image(container["image"], versions, place=image)


def _check_scaling(spec: Manifest, place: str) -> Iterator[Finding]:
    if not spec.get("enableInTreeAutoscaling"):
        yield Finding(
            joined(place, "enableInTreeAutoscaling"), "without it workers never come, or never go: write true."
        )
        return
    seconds = spec.get("autoscalerOptions", {}).get("idleTimeoutSeconds", 60)
    if seconds < IDLE_SECONDS:
        yield Finding(
            joined(place, "autoscalerOptions", "idleTimeoutSeconds"),
            f"{seconds} seconds (60 unless written) is less than a gap between stages, and nodes would come and go: "
            f"write at least {IDLE_SECONDS}.",
        )


def _check_head(place: str, head: Manifest, entrypoint: str) -> Iterator[Finding]:
    cpus = head.get("rayStartParams", {}).get("num-cpus")
    if cpus != "0":
        yield Finding(
            joined(place, "rayStartParams", "num-cpus"),
            f'{cpus!r}: the head would run trials next to the launch: write num-cpus: "0".',
        )
    if label := spot_label(head["template"]["spec"].get("nodeSelector", {})):
        yield Finding(
            joined(place, "template", "spec", "nodeSelector"),
            f"{label} puts the head on a spot node, and the launch dies when the cloud takes it back: leave it out.",
        )
    yield from _check_pod_storage(head["template"]["spec"], entrypoint, place)


def _check_worker_group(place: str, group: Manifest, names: set[str]) -> Iterator[Finding]:
    if group["groupName"] in names:
        yield Finding(
            joined(place, "groupName"), f"{group['groupName']!r} stands there twice: names tell groups apart."
        )
    least, most = group.get("minReplicas", 0), group.get("maxReplicas")
    if most is not None and least > most:
        yield Finding(joined(place, "minReplicas"), f"{least} is more than maxReplicas, {most}.")
    pod = group["template"]["spec"]
    limits = pod["containers"][0].get("resources", {}).get("limits", {})
    instance = pod.get("nodeSelector", {}).get(INSTANCE_TYPE, "")
    if any(provider.has_gpu(instance) for provider in PROVIDERS.values()) and GPU not in limits:
        yield Finding(
            joined(place, "template", "spec", "containers", 0, "resources", "limits"),
            f"{instance} has a GPU that no trial would ever get, since {GPU} is not among the limits: write it there.",
        )


def _check_pod_storage(pod: Manifest, entrypoint: str, place: str) -> Iterator[Finding]:
    container = pod["containers"][0]
    environment = {each["name"]: each.get("value") for each in container.get("env", ())}
    words = shlex.split(entrypoint.replace("--storage=", "--storage "))
    option = next((after for word, after in pairwise(words) if word == "--storage"), None)
    storage = environment["DPTQ_STORAGE"] = option or environment.get("DPTQ_STORAGE")
    if "--shared-storage" in words:
        environment["DPTQ_SHARED_STORAGE"] = "1"
    volumes = {each["name"]: each for each in pod.get("volumes", ())}
    shared = [
        mount["mountPath"]
        for mount in container.get("volumeMounts", ())
        if {"persistentVolumeClaim", "nfs", "csi"} & volumes.get(mount["name"], {}).keys()
    ]
    yield from check_storage(
        environment,
        is_shared_path=storage is not None and any(storage.startswith(path) for path in shared),
        place=joined(place, "template", "spec", "containers", 0, "env"),
    )


def _check_mlflow(deployment: Manifest) -> Iterator[Finding]:
    containers = deployment.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ())
    for position, container in enumerate(containers):
        words = [str(word) for word in (*container.get("command", ()), *container.get("args", ()))]
        if words[:2] == ["mlflow", "server"] and not any(word.startswith("--allowed-hosts") for word in words):
            yield Finding(
                joined("Deployment.spec.template.spec.containers", position, "args"),
                "MLflow answers to its own machine's names only: add --allowed-hosts with the name of its Service.",
            )
