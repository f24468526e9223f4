"""Every way to spoil a RayJob or RayCluster that we know gives exactly one line; and the operator's own definition."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.files.render import ClusterOptions, render
from cluster.validation.files import check_file
from cluster.validation.findings import strict
from search_spaces.errors import ConfigError

SPEC = "spec/rayClusterSpec"
HEAD = f"{SPEC}/headGroupSpec"
GROUP = f"{SPEC}/workerGroupSpecs/0"
POD = f"{GROUP}/template/spec"


@pytest.mark.parametrize(
    ("place", "value", "fragments"),
    [
        # fields
        ("spec/entrypiont", "x", ["spec.entrypiont: KubeRay's RayJob knows", "Did you mean 'entrypoint'?"]),
        ("spec/entrypoint", ..., ["spec: 'entrypoint' is missing"]),
        ("spec/shutdownAfterJobFinishes", "yes", ["'yes' is text, where true or false belongs", "without quotes"]),
        ("spec/ttlSecondsAfterFinished", "600", ["ttlSecondsAfterFinished: '600' is text", "without quotes"]),
        ("spec/runtimeEnvYAML", {"env_vars": {}}, ["spec.runtimeEnvYAML: {'env_vars': {}} is a mapping, where text"]),
        ("spec/submissionMode", "K8SJobMode", ["'K8SJobMode' is none of K8sJobMode", "Did you mean 'K8sJobMode'?"]),
        (f"{HEAD}/rayStartParams/num-cpus", 0, ["num-cpus: 0 is a whole number, where text belongs", 'Write "0"']),
        (f"{HEAD}/template/spec/containers/0/img", "x", ["headGroupSpec.template.spec.containers[0].img: "]),
        (f"{HEAD}/template/spec/containers", [], ["headGroupSpec.template.spec.containers: "]),
        (f"{GROUP}/maxReplica", 3, ["workerGroupSpecs[0].maxReplica: ", "Did you mean 'maxReplicas'?"]),
        (f"{GROUP}/groupName", ..., ["workerGroupSpecs[0]: 'groupName' is missing"]),
        (f"{POD}/nodeSelector", {"spot": True}, ["nodeSelector.spot: True is true or false, where text", '"true"']),
        (f"{SPEC}/autoscalerOptions/version", 2, ["version: 2 is none of v1, v2"]),
        ("apiVersion", "ray.io/v1alpha1", ["apiVersion: 'ray.io/v1alpha1' is none of ray.io/v1"]),
        # what the operator refuses
        ("metadata/name", "Night_Run", ["metadata.name: 'Night_Run' is refused"]),
        ("metadata/name", "a" * 48, ["metadata.name: ", "up to 47"]),
        ("spec/shutdownAfterJobFinishes", False, ["spec.ttlSecondsAfterFinished: 600 has no effect without shutdown"]),
        ("spec/ttlSecondsAfterFinished", -1, ["spec.ttlSecondsAfterFinished: -1 seconds"]),
        ("spec/activeDeadlineSeconds", 0, ["spec.activeDeadlineSeconds: 0 seconds: a deadline is above 0"]),
        ("spec/preRunningDeadlineSeconds", -5, ["spec.preRunningDeadlineSeconds: -5 seconds"]),
        ("spec/backoffLimit", -1, ["spec.backoffLimit: -1: retries are 0 or more"]),
        ("spec/deletionStrategy", {"deletionRules": []}, ["spec.deletionStrategy: does not go together"]),
        ("spec/runtimeEnvYAML", "a: [", ["spec.runtimeEnvYAML: the text, line 1 is no YAML"]),
        ("spec/runtimeEnvYAML", "just words", ["spec.runtimeEnvYAML: is text that holds a YAML mapping"]),
        ("spec/rayClusterSpec", ..., ["spec: neither rayClusterSpec nor clusterSelector"]),
        # what a sweep needs
        (f"{SPEC}/rayVersion", "2.52.0", ["rayVersion: '2.52.0' is not 2.60.0"]),
        (f"{SPEC}/authOptions", ..., ["authOptions: is missing", "mode: token"]),
        (f"{SPEC}/enableInTreeAutoscaling", False, ["enableInTreeAutoscaling: without it workers never come"]),
        (f"{SPEC}/autoscalerOptions/idleTimeoutSeconds", 60, ["idleTimeoutSeconds: 60 seconds", "at least 300"]),
        (f"{SPEC}/autoscalerOptions/idleTimeoutSeconds", ..., ["idleTimeoutSeconds: 60 seconds"]),
        (f"{HEAD}/rayStartParams/num-cpus", ..., ["num-cpus: None: the head would run trials"]),
        (f"{HEAD}/rayStartParams/num-cpus", "4", ["num-cpus: '4': the head would run trials"]),
        (f"{HEAD}/template/spec/nodeSelector", {"karpenter.sh/capacity-type": "spot"}, ["the head on a spot node"]),
        (f"{HEAD}/template/spec/containers/0/image", "rayproject/ray:2.50.0", ["containers[0].image: ", "Ray 2.50.0"]),
        (f"{POD}/containers/0/image", "rayproject/ray:2.60.0-py39", ["workerGroupSpecs[0]", "not for Python"]),
        (f"{GROUP}/minReplicas", 7, ["minReplicas: 7 is more than maxReplicas, 6"]),
        (f"{GROUP}/groupName", "on-demand", ["workerGroupSpecs[1].groupName: 'on-demand' stands there twice"]),
        ("spec/entrypoint", "dptq-sweep launch --storage /tmp/x", ["storage '/tmp/x' is a path"]),
        (f"{HEAD}/template/spec/containers/0/env", [{"name": "DPTQ_STORAGE", "value": "x"}], ["'x' is a path"]),
        (f"{HEAD}/template/spec/containers/0/env", [], ["env: DPTQ_STORAGE is not set"]),
    ],
)  # fmt: skip
def test_a_spoiled_rayjob_gives_one_line(
    place: str,
    value: Any,
    fragments: list[str],
    rendered: Callable[[str], Any],
    change: Callable[[Any, str, Any], None],
    findings: Callable[[Any], list[str]],
) -> None:
    job = rendered("rayjob")
    change(job, place, value)
    lines = findings(job)
    assert len(lines) == 1, lines
    assert [fragment for fragment in fragments if fragment not in lines[0]] == [], lines[0]


@pytest.mark.parametrize(
    ("spec", "fragment"),
    [
        ({"clusterSelector": {"ray.io/cluster": "c"}, "backoffLimit": 2}, "spec.backoffLimit: does not go together"),
        ({"clusterSelector": {"ray.io/cluster": "c"}, "suspend": True, "shutdownAfterJobFinishes": True},
         "spec.suspend: does not go together"),
    ],
)  # fmt: skip
def test_a_job_on_a_cluster_that_is_there_leaves_it_alone(
    spec: dict[str, Any], fragment: str, rendered: Callable[[str], Any], findings: Callable[[Any], list[str]]
) -> None:
    job = rendered("rayjob")
    job["spec"] = {"entrypoint": "dptq-sweep launch", **spec}
    (line,) = findings(job)
    assert fragment in line


def test_a_cluster_that_outlives_its_job_is_named(
    rendered: Callable[[str], Any], findings: Callable[[Any], list[str]]
) -> None:
    job = rendered("rayjob")
    del job["spec"]["shutdownAfterJobFinishes"], job["spec"]["ttlSecondsAfterFinished"]
    (line,) = findings(job)
    assert "the Ray cluster would outlive its job" in line


def test_a_gpu_node_without_gpus_is_named(
    rendered: Callable[[str], Any], change: Callable[[Any, str, Any], None], findings: Callable[[Any], list[str]]
) -> None:
    job = rendered("rayjob")
    change(job, f"{POD}/nodeSelector", {"node.kubernetes.io/instance-type": "g5.2xlarge"})
    change(job, f"{POD}/containers/0/resources/limits", {"cpu": "7"})
    (line,) = findings(job)
    assert "g5.2xlarge has a GPU that no trial would ever get" in line


def test_storage_on_a_volume_that_all_pods_share_is_fine(
    rendered: Callable[[str], Any], change: Callable[[Any, str, Any], None], findings: Callable[[Any], list[str]]
) -> None:
    job = rendered("rayjob")
    change(job, f"{HEAD}/template/spec/containers/0/env", [{"name": "DPTQ_STORAGE", "value": "/data/trials"}])
    (line,) = findings(job)  # an emptyDir is each pod's own
    assert "'/data/trials' is a path" in line
    change(job, f"{HEAD}/template/spec/volumes", [{"name": "data", "persistentVolumeClaim": {"claimName": "x"}}])
    (line,) = findings(job)
    assert "'/data/trials' is a path, which launches refuse on several machines unless they are told" in line
    change(job, "spec/entrypoint", "dptq-sweep launch --shared-storage")
    assert findings(job) == []
    change(job, "spec/entrypoint", "dptq-sweep launch")
    change(job, f"{HEAD}/template/spec/containers/0/env/0", {"name": "DPTQ_SHARED_STORAGE", "value": "1"})
    change(job, "spec/entrypoint", "dptq-sweep launch --storage /data/trials")
    assert findings(job) == []


def test_mlflow_that_refuses_its_service_is_named(
    options: ClusterOptions, findings: Callable[[Any], list[str]]
) -> None:
    text = render("raycluster", options)
    spoiled = "\n".join(line for line in text.splitlines() if "--allowed-hosts" not in line)
    (line,) = findings(spoiled)
    assert "--allowed-hosts" in line


CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rayjobs.ray.io}
spec:
  names: {kind: RayJob}
  versions:
    - {name: v1alpha1, schema: {openAPIV3Schema: {type: string}}}
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              required: [entrypoint]
              properties:
                entrypoint: {type: string}
                brandNewField: {type: boolean}
                shutdownAfterJobFinishes: {type: boolean}
                ttlSecondsAfterFinished: {type: integer, format: int32}
                backoffLimit: {type: integer}
                activeDeadlineSeconds: {type: integer}
                submissionMode: {type: string}
                runtimeEnvYAML: {type: string}
                rayClusterSpec: {type: object, x-kubernetes-preserve-unknown-fields: true}
                port: {anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true}
"""


@pytest.mark.parametrize(
    ("name", "value", "fragment"),
    [
        ("brandNewField", True, None),  # a newer operator than ours
        ("port", "http", None),
        ("port", 80, None),
        ("port", 1.5, "spec.port: 1.5 is a number, where a whole number or text belongs"),
        ("brandNewFild", True, "spec.brandNewFild: the operator's definition knows no such field"),
        ("shutdownAfterJobFinishes", "yes", "'yes' is text, where true or false belongs"),
    ],
)
def test_the_operators_own_definition_wins_over_ours(
    name: str, value: object, fragment: str | None, rendered: Callable[[str], Any], tmp_path: Path
) -> None:
    job = rendered("rayjob")
    job["spec"][name] = value
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    (tmp_path / "crd.yaml").write_text(CRD)
    lines = [str(finding) for finding in check_file(tmp_path / "job.yaml", tmp_path / "crd.yaml").findings]
    assert len(lines) == (fragment is not None), lines
    assert all(fragment in line for line in lines if fragment)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("kind: RayJob", "holds no CustomResourceDefinition"),
        (CRD.replace("kind: RayJob", "kind: RayService"), "is of RayService, and the file holds RayJob"),
        (CRD.replace("name: v1\n", "name: v2\n"), "has no version v1"),
    ],
)
def test_a_definition_that_does_not_fit_is_one_clear_line(
    definition: str, message: str, options: ClusterOptions, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(render("rayjob", options))
    (tmp_path / "crd.yaml").write_text(definition)
    with pytest.raises(ConfigError, match=message):
        check_file(tmp_path / "job.yaml", tmp_path / "crd.yaml")


def test_fields_that_happen_to_be_called_properties_stay_fields() -> None:
    schema = {"type": "object", "properties": {"properties": {"type": "object", "properties": {"a": {}}}}}
    assert strict(schema)["properties"]["properties"]["additionalProperties"] is False
    assert strict(schema)["properties"].keys() == {"properties"}
