"""Cluster files of both kinds become node types, and a malformed one is answered in one line."""

import copy
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.files.node_types import NodeType, read_cluster
from search_spaces.errors import ConfigError

AWS = """
cluster_name: sweep
max_workers: 6
provider: {type: aws, region: us-east-1}
head_node_type: head
available_node_types:
  head:
    resources: {CPU: 0, GPU: 0}
    node_config: {InstanceType: m5.xlarge}
  spot:
    resources: {}
    min_workers: 1
    max_workers: 4
    node_config:
      InstanceType: g5.xlarge
      InstanceMarketOptions: {MarketType: spot, SpotOptions: {MaxPrice: "1.0"}}
  steady:
    resources: {CPU: 32, GPU: 1}
    node_config: {InstanceType: g5.8xlarge}
"""
GCP = """
cluster_name: sweep
max_workers: 2
provider: {type: gcp, region: us-central1, project_id: p}
head_node_type: head
available_node_types:
  head:
    resources: {CPU: 4}
    node_config: {machineType: zones/us-central1-a/machineTypes/n1-standard-4}
  gpu:
    resources: {CPU: 8, GPU: 2}
    node_config:
      machineType: n1-standard-8
      guestAccelerators: [{acceleratorType: nvidia-tesla-t4, acceleratorCount: 2}]
      scheduling: [{preemptible: true}, {onHostMaintenance: TERMINATE}]
"""
AZURE = """
cluster_name: sweep
provider: {type: azure, location: eastus, resource_group: g}
head_node_type: head
available_node_types:
  head: {resources: {CPU: 4}, node_config: {azure_arm_parameters: {vmSize: Standard_D4s_v5}}}
  gpu:
    resources: {CPU: 4, GPU: 1}
    node_config: {azure_arm_parameters: {vmSize: Standard_NC4as_T4_v3, priority: Spot}}
"""
KUBERAY = """
apiVersion: v1
kind: ConfigMap
metadata: {name: before}
---
apiVersion: ray.io/v1
kind: RayJob
spec:
  entrypoint: dptq-sweep launch
  rayClusterSpec:
    enableInTreeAutoscaling: true
    headGroupSpec:
      rayStartParams: {num-cpus: "0"}
      template:
        spec:
          nodeSelector: {node.kubernetes.io/instance-type: m5.xlarge}
          containers: [{name: ray-head, resources: {limits: {cpu: "2", memory: 8Gi}}}]
    workerGroupSpecs:
    - groupName: gpu
      replicas: 1
      minReplicas: 1
      maxReplicas: 3
      numOfHosts: 2
      rayStartParams: {}
      template:
        spec:
          nodeSelector: {node.kubernetes.io/instance-type: g5.xlarge, eks.amazonaws.com/capacityType: SPOT}
          containers: [{name: ray-worker, resources: {limits: {cpu: 3500m, nvidia.com/gpu: 1}}}]
    - groupName: own-machines
      minReplicas: 0
      maxReplicas: 2
      template:
        spec:
          containers: [{name: ray-worker, resources: {requests: {cpu: 8}}}]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return path


def test_launcher_file_for_aws_with_spot_and_on_demand_workers(tmp_path: Path) -> None:
    cluster = read_cluster(written(tmp_path, AWS))
    assert cluster.node_types == (
        NodeType(
            name="head",
            machine="m5.xlarge",
            resources={"CPU": 0, "GPU": 0},
            min_workers=0,
            max_workers=0,
            is_spot=False,
            is_head=True,
        ),
        NodeType(
            name="spot",
            machine="g5.xlarge",
            resources={},
            min_workers=1,
            max_workers=4,
            is_spot=True,
            is_head=False,
        ),
        NodeType(
            name="steady",
            machine="g5.8xlarge",
            resources={"CPU": 32, "GPU": 1},
            min_workers=0,
            max_workers=6,
            is_spot=False,
            is_head=False,
        ),
    )
    assert cluster.head.name == "head"


def test_workers_that_are_always_there_come_first_and_the_total_is_kept(tmp_path: Path) -> None:
    workers = read_cluster(written(tmp_path, AWS)).workers()
    # The types alone would allow 4 + 6 workers.
    assert [(node_type.name, stays) for node_type, stays in workers] == [
        ("spot", True),
        *[("spot", False)] * 3,
        *[("steady", False)] * 2,
    ]


@pytest.mark.parametrize("text", [AWS, GCP, AZURE], ids=["aws", "gcp", "azure"])
def test_numbers_of_workers_are_those_that_ray_fills_in(tmp_path: Path, text: str) -> None:
    filled = prepare_config(copy.deepcopy(yaml.safe_load(text)))
    validate_config(filled)
    cluster = read_cluster(written(tmp_path, text))
    assert cluster.max_workers == filled["max_workers"]
    assert {each.name: (each.min_workers, each.max_workers) for each in cluster.node_types} == {
        name: (each["min_workers"], each["max_workers"]) for name, each in filled["available_node_types"].items()
    }


def test_gpus_that_gcp_attaches_are_kept_apart_from_the_machine(tmp_path: Path) -> None:
    head, gpu = read_cluster(written(tmp_path, GCP)).node_types
    assert (head.machine, head.accelerators, head.is_spot) == ("n1-standard-4", (), False)
    assert (gpu.machine, gpu.accelerators, gpu.is_spot) == ("n1-standard-8", ("nvidia-tesla-t4",) * 2, True)
    # Ray does not ask GCP what a machine has: what the file leaves out is not there.
    assert head.resources == {"CPU": 4, "GPU": 0}


@pytest.mark.parametrize(
    ("scheduling", "is_spot"),
    [
        ("{preemptible: true}", True),
        ("{provisioningModel: SPOT}", True),
        ("[{provisioningModel: SPOT, automaticRestart: false}]", True),
        ("[{preemptible: false}]", False),
        ("[]", False),
    ],
)
def test_gcp_says_spot_in_several_ways(tmp_path: Path, scheduling: str, is_spot: bool) -> None:
    text = GCP.replace("[{preemptible: true}, {onHostMaintenance: TERMINATE}]", scheduling)
    assert read_cluster(written(tmp_path, text)).node_types[1].is_spot is is_spot


def test_launcher_file_for_azure(tmp_path: Path) -> None:
    head, gpu = read_cluster(written(tmp_path, AZURE)).node_types
    assert (head.machine, head.is_spot) == ("Standard_D4s_v5", False)
    assert (gpu.machine, gpu.is_spot, gpu.max_workers) == ("Standard_NC4as_T4_v3", True, 2)


def test_kuberay_job_among_other_documents(tmp_path: Path) -> None:
    head, gpu, own = read_cluster(written(tmp_path, KUBERAY)).node_types
    assert (head.machine, head.resources, head.is_head) == ("m5.xlarge", {"CPU": 0, "GPU": 0}, True)
    # Two pods to a replica; Ray counts cores in whole numbers, rounded up.
    assert (gpu.machine, gpu.resources) == ("g5.xlarge", {"CPU": 4, "GPU": 1})
    assert (gpu.min_workers, gpu.max_workers, gpu.is_spot) == (2, 6, True)
    assert (own.machine, own.resources, own.is_spot) == ("own-machines", {"CPU": 8, "GPU": 0}, False)


def test_kuberay_cluster_without_autoscaling_has_its_replicas(tmp_path: Path) -> None:
    document = list(yaml.safe_load_all(KUBERAY))[1]
    spec = document["spec"]["rayClusterSpec"] | {"enableInTreeAutoscaling": False}
    text = yaml.safe_dump({"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": spec})
    cluster = read_cluster(written(tmp_path, text))
    assert [(each.min_workers, each.max_workers) for each in cluster.node_types] == [(0, 0), (2, 2), (0, 0)]
    assert [stays for _, stays in cluster.workers()] == [True, True]


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("cloud.google.com/gke-spot", '"true"'),
        ("karpenter.sh/capacity-type", "spot"),
        ("kubernetes.azure.com/scalesetpriority", "spot"),
    ],
)
def test_pods_ask_for_spot_by_a_label_of_their_cloud(tmp_path: Path, label: str, value: str) -> None:
    text = KUBERAY.replace("eks.amazonaws.com/capacityType: SPOT", f"{label}: {value}")
    assert read_cluster(written(tmp_path, text)).node_types[1].is_spot


MALFORMED = {
    "nothing in it": (AWS, "", "holds no cluster"),
    "no YAML": (AWS, "a: [", "line 1 is no YAML"),
    "key twice": (AWS, AWS + "max_workers: 7", "'max_workers' stands there twice"),
    "another kind": (KUBERAY, KUBERAY.replace("RayJob", "RayService"), "holds no cluster"),
    "a list": (AWS, "[1, 2]", "should be a mapping"),
    "provider unknown": (AWS, AWS.replace("type: aws", "type: awss"), "provider.type.awss'. Did you mean 'aws'"),
    "provider missing": (AWS, AWS.replace("type: aws, ", ""), "unknown provider"),
    "head unknown": (AWS, AWS.replace("head_node_type: head", "head_node_type: haed"), "Did you mean 'head'"),
    "no machine": (AWS, AWS.replace("InstanceType: m5.xlarge", "x: y"), "head.node_config names no machine"),
    "machine is a number": (AWS, AWS.replace("InstanceType: m5.xlarge", "InstanceType: 5"), "InstanceType=5: it"),
    "workers in words": (AWS, AWS.replace("max_workers: 4", "max_workers: four"), "spot.max_workers='four': it should"),
    "workers negative": (AWS, AWS.replace("min_workers: 1", "min_workers: -1"), "spot.min_workers=-1: it should be a"),
    "more at least than at most": (
        AWS,
        AWS.replace("max_workers: 4", "max_workers: 0"),
        "at least the smallest number",
    ),
    "sum above the total": (AWS, AWS.replace("max_workers: 6", "max_workers: 0"), "max_workers=0: it should be at"),
    "resource in words": (AWS, AWS.replace("CPU: 32", "CPU: many"), "steady.resources.CPU='many': it should be an"),
    "accelerator unnamed": (GCP, GCP.replace("acceleratorType: nvidia-tesla-t4, ", ""), "names no GPU"),
    "no head group": (KUBERAY, KUBERAY.replace("headGroupSpec", "head"), "rayClusterSpec has no headGroupSpec"),
    "no limit": (KUBERAY, KUBERAY.replace("      maxReplicas: 3\n", ""), "[0] has no maxReplicas"),
    "group unnamed": (
        KUBERAY,
        KUBERAY.replace("- groupName: gpu\n      replicas", "- replicas"),
        "[0] has no groupName",
    ),
    "amount with a wrong unit": (KUBERAY, KUBERAY.replace("cpu: 3500m", "cpu: 3.5x"), "limits.cpu='3.5x': it should"),
    "flag in words": (KUBERAY, KUBERAY.replace("Autoscaling: true", "Autoscaling: 'yes'"), "should be true or false"),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in MALFORMED.items()])
def test_malformed_file_is_one_line_with_its_place(tmp_path: Path, case: tuple[str, str, str]) -> None:
    valid, malformed, said = case
    assert malformed != valid
    read_cluster(written(tmp_path, valid))
    path = written(tmp_path, malformed)
    with pytest.raises(ConfigError) as caught:
        read_cluster(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_cluster(tmp_path / "none.yaml")
