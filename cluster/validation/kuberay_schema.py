"""RayJob and RayCluster as JSON schemas, written by hand for KubeRay 1.7: the fields that a sweep has use for.

The operator's own definitions have 1.4 MB and may be newer; `validate --crd` takes them where somebody has them.
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
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _one_of(*options: str) -> Schema:
    return {"enum": list(options)}


def _any(names: str) -> dict[str, Schema]:
    """Fields whose content is Kubernetes' business."""
    return dict.fromkeys(names.split(), ANYTHING)


METADATA = _fields("name", name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS, finalizers=ANYTHING)
RESOURCES = _fields(
    requests={"type": "object", "additionalProperties": QUANTITY},
    limits={"type": "object", "additionalProperties": QUANTITY},
    claims=ANYTHING,
)
ENVIRONMENT = _list_of(_fields("name", name=TEXT, value=TEXT, valueFrom=ANYTHING))
CONTAINER = _fields(
    "name image",
    name=TEXT,
    image=TEXT,
    command=_list_of(TEXT),
    args=_list_of(TEXT),
    env=ENVIRONMENT,
    resources=RESOURCES,
    volumeMounts=_list_of(_fields("name mountPath", name=TEXT, mountPath=TEXT, readOnly=SWITCH, subPath=TEXT)),
    ports=_list_of(_fields("containerPort", containerPort=WHOLE, name=TEXT, protocol=TEXT, hostPort=WHOLE)),
    imagePullPolicy=_one_of("Always", "IfNotPresent", "Never"),
    workingDir=TEXT,
    **_any("envFrom lifecycle livenessProbe readinessProbe startupProbe restartPolicy securityContext volumeDevices"),
    **_any("stdin tty terminationMessagePath terminationMessagePolicy"),
)
POD = _fields(
    "containers",
    containers={**_list_of(CONTAINER), "minItems": 1},
    initContainers=_list_of(CONTAINER),
    nodeSelector=TEXTS,
    serviceAccountName=TEXT,
    restartPolicy=_one_of("Always", "OnFailure", "Never"),
    terminationGracePeriodSeconds=WHOLE,
    priorityClassName=TEXT,
    **_any("affinity tolerations volumes imagePullSecrets securityContext topologySpreadConstraints hostAliases"),
    **_any("runtimeClassName schedulerName dnsConfig dnsPolicy hostNetwork automountServiceAccountToken nodeName"),
    **_any("ephemeralContainers hostIPC hostPID hostname overhead os preemptionPolicy readinessGates resourceClaims"),
    **_any("schedulingGates shareProcessNamespace subdomain activeDeadlineSeconds enableServiceLinks hostUsers"),
)
TEMPLATE = _fields("spec", metadata=_fields(name=TEXT, labels=TEXTS, annotations=TEXTS), spec=POD)
HEAD_GROUP = _fields(
    "template",
    rayStartParams=TEXTS,
    template=TEMPLATE,
    resources=TEXTS,
    labels=TEXTS,
    serviceType=_one_of("ClusterIP", "NodePort", "LoadBalancer"),
    enableIngress=SWITCH,
    headService=ANYTHING,
)
WORKER_GROUP = _fields(
    "groupName template",
    groupName=TEXT,
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    numOfHosts=WHOLE,
    idleTimeoutSeconds=WHOLE,
    priority=WHOLE,
    rayStartParams=TEXTS,
    template=TEMPLATE,
    resources=TEXTS,
    labels=TEXTS,
    scaleStrategy=ANYTHING,
    suspend=SWITCH,
)
CLUSTER_SPEC = _fields(
    "headGroupSpec",
    rayVersion=TEXT,
    enableInTreeAutoscaling=SWITCH,
    autoscalerOptions=_fields(
        version=_one_of("v1", "v2"),
        idleTimeoutSeconds=WHOLE,
        upscalingMode=_one_of("Default", "Aggressive", "Conservative"),
        image=TEXT,
        imagePullPolicy=TEXT,
        resources=RESOURCES,
        env=ENVIRONMENT,
        **_any("envFrom securityContext volumeMounts command args"),
    ),
    authOptions=_fields(mode=_one_of("token", "disabled"), secretName=TEXT, enableK8sTokenAuth=SWITCH),
    headGroupSpec=HEAD_GROUP,
    workerGroupSpecs=_list_of(WORKER_GROUP),
    suspend=SWITCH,
    managedBy=TEXT,
    headServiceAnnotations=TEXTS,
    **_any("gcsFaultToleranceOptions networkPolicy tlsOptions upgradeStrategy"),
)
JOB_SPEC = _fields(
    "entrypoint",
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    rayClusterSpec=CLUSTER_SPEC,
    clusterSelector=TEXTS,
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    shutdownAfterJobFinishes=SWITCH,
    ttlSecondsAfterFinished=WHOLE,
    activeDeadlineSeconds=WHOLE,
    preRunningDeadlineSeconds=WHOLE,
    backoffLimit=WHOLE,
    suspend=SWITCH,
    jobId=TEXT,
    metadata=TEXTS,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    entrypointResources=TEXT,
    managedBy=TEXT,
    **_any("deletionStrategy submitterPodTemplate submitterConfig"),
)
SCHEMAS = {
    kind: _fields("apiVersion metadata spec", apiVersion=_one_of("ray.io/v1"), kind=TEXT, metadata=METADATA, spec=spec)
    for kind, spec in (("RayJob", JOB_SPEC), ("RayCluster", CLUSTER_SPEC))
}
