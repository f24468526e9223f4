"""RayJob and RayCluster as JSON schemas, written by hand for KubeRay 1.7: the fields that a sweep has use for.

The operator's own definitions have 1.4 MB and may be newer; `validate --crd` takes them from a file.
"""

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
SWITCH: Schema = {"type": "boolean"}
ANYTHING: Schema = {}
QUANTITY: Schema = {"type": ["integer", "string"]}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}


def _fields(required: str = "", /, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _one_of(*options: str) -> Schema:
    return {"enum": list(options)}


def _each(schema: Schema, names: str) -> dict[str, Schema]:
    """Several fields of one kind."""
    return dict.fromkeys(names.split(), schema)


def _any(names: str) -> dict[str, Schema]:
    """Fields whose content is Kubernetes' business."""
    return _each(ANYTHING, names)


METADATA = _fields("name", **_each(TEXT, "name namespace"), **_each(TEXTS, "labels annotations"), finalizers=ANYTHING)
RESOURCES = _fields(**_each({"type": "object", "additionalProperties": QUANTITY}, "requests limits"), claims=ANYTHING)
ENVIRONMENT = _list_of(_fields("name", **_each(TEXT, "name value"), valueFrom=ANYTHING))
CONTAINER = _fields(
    "name image",
    **_each(TEXT, "name image workingDir"),
    **_each(_list_of(TEXT), "command args"),
    env=ENVIRONMENT,
    resources=RESOURCES,
    volumeMounts=_list_of(_fields("name mountPath", **_each(TEXT, "name mountPath subPath"), readOnly=SWITCH)),
    ports=_list_of(_fields("containerPort", **_each(WHOLE, "containerPort hostPort"), **_each(TEXT, "name protocol"))),
    imagePullPolicy=_one_of("Always", "IfNotPresent", "Never"),
    **_any("envFrom lifecycle livenessProbe readinessProbe startupProbe restartPolicy securityContext volumeDevices"),
    **_any("stdin tty terminationMessagePath terminationMessagePolicy"),
)
POD = _fields(
    "containers",
    containers={**_list_of(CONTAINER), "minItems": 1},
    initContainers=_list_of(CONTAINER),
    nodeSelector=TEXTS,
    **_each(TEXT, "serviceAccountName priorityClassName"),
    restartPolicy=_one_of("Always", "OnFailure", "Never"),
    terminationGracePeriodSeconds=WHOLE,
    **_any("affinity tolerations volumes imagePullSecrets securityContext topologySpreadConstraints hostAliases"),
    **_any("runtimeClassName schedulerName dnsConfig dnsPolicy hostNetwork automountServiceAccountToken nodeName"),
    **_any("ephemeralContainers hostIPC hostPID hostname overhead os preemptionPolicy readinessGates resourceClaims"),
    **_any("schedulingGates shareProcessNamespace subdomain activeDeadlineSeconds enableServiceLinks hostUsers"),
)
TEMPLATE = _fields("spec", metadata=_fields(name=TEXT, labels=TEXTS, annotations=TEXTS), spec=POD)
HEAD_GROUP = _fields(
    "template",
    template=TEMPLATE,
    **_each(TEXTS, "rayStartParams resources labels"),
    serviceType=_one_of("ClusterIP", "NodePort", "LoadBalancer"),
    enableIngress=SWITCH,
    headService=ANYTHING,
)
WORKER_GROUP = _fields(
    "groupName template",
    groupName=TEXT,
    template=TEMPLATE,
    **_each(WHOLE, "replicas minReplicas maxReplicas numOfHosts idleTimeoutSeconds priority"),
    **_each(TEXTS, "rayStartParams resources labels"),
    scaleStrategy=ANYTHING,
    suspend=SWITCH,
)
CLUSTER_SPEC = _fields(
    "headGroupSpec",
    **_each(TEXT, "rayVersion managedBy"),
    **_each(SWITCH, "enableInTreeAutoscaling suspend"),
    autoscalerOptions=_fields(
        version=_one_of("v1", "v2"),
        idleTimeoutSeconds=WHOLE,
        upscalingMode=_one_of("Default", "Aggressive", "Conservative"),
        **_each(TEXT, "image imagePullPolicy"),
        resources=RESOURCES,
        env=ENVIRONMENT,
        **_any("envFrom securityContext volumeMounts command args"),
    ),
    authOptions=_fields(mode=_one_of("token", "disabled"), secretName=TEXT, enableK8sTokenAuth=SWITCH),
    headGroupSpec=HEAD_GROUP,
    workerGroupSpecs=_list_of(WORKER_GROUP),
    headServiceAnnotations=TEXTS,
    **_any("gcsFaultToleranceOptions networkPolicy tlsOptions upgradeStrategy"),
)
JOB_SPEC = _fields(
    "entrypoint",
    **_each(TEXT, "entrypoint entrypointResources runtimeEnvYAML jobId managedBy"),
    **_each(NUMBER, "entrypointNumCpus entrypointNumGpus"),
    **_each(WHOLE, "ttlSecondsAfterFinished activeDeadlineSeconds preRunningDeadlineSeconds backoffLimit"),
    **_each(SWITCH, "shutdownAfterJobFinishes suspend"),
    **_each(TEXTS, "clusterSelector metadata"),
    rayClusterSpec=CLUSTER_SPEC,
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    **_any("deletionStrategy submitterPodTemplate submitterConfig"),
)
SCHEMAS = {
    kind: _fields("apiVersion metadata spec", apiVersion=_one_of("ray.io/v1"), kind=TEXT, metadata=METADATA, spec=spec)
    for kind, spec in (("RayJob", JOB_SPEC), ("RayCluster", CLUSTER_SPEC))
}
