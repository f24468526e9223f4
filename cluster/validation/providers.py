"""What Ray's launcher and the clouds read in `provider` and `node_config`; Ray's own schema looks into neither."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.machines import has_gpu

_EVERY_PROVIDER = {
    "type", "module", "use_internal_ips", "cache_stopped_nodes", "disable_node_updaters",
    "disable_launch_config_check", "foreground_node_launch", "worker_liveness_check", "worker_rpc_drain",
}  # fmt: skip
# Arguments of EC2's RunInstances, and `SubnetIds`, from which Ray chooses one.
_AWS_MACHINE = {
    "BlockDeviceMappings", "CapacityReservationSpecification", "CpuOptions", "CreditSpecification",
    "DisableApiTermination", "EbsOptimized", "EnclaveOptions", "HibernationOptions", "IamInstanceProfile", "ImageId",
    "InstanceInitiatedShutdownBehavior", "InstanceMarketOptions", "InstanceType", "KeyName", "LaunchTemplate",
    "LicenseSpecifications", "MaintenanceOptions", "MetadataOptions", "Monitoring", "NetworkInterfaces", "Placement",
    "PrivateDnsNameOptions", "RamdiskId", "SecurityGroupIds", "SecurityGroups", "SubnetId", "SubnetIds",
    "TagSpecifications", "UserData",
}  # fmt: skip
# Fields of Compute Engine's instances.insert.
_GCP_MACHINE = {
    "advancedMachineFeatures", "canIpForward", "confidentialInstanceConfig", "deletionProtection", "description",
    "disks", "displayDevice", "guestAccelerators", "hostname", "keyRevocationActionType", "labels", "machineType",
    "metadata", "minCpuPlatform", "networkInterfaces", "networkPerformanceConfig", "params", "reservationAffinity",
    "resourcePolicies", "scheduling", "serviceAccounts", "shieldedInstanceConfig", "sourceInstanceTemplate",
    "sourceMachineImage", "tags",
}  # fmt: skip
# Parameters of the template that Ray deploys, and `availability_zone`, which Ray reads itself.
_AZURE_PARAMETERS = {
    "adminUsername", "availability_zone", "billingProfile", "enableAcceleratedNetworking", "evictionPolicy", "imageId",
    "imageOffer", "imagePublisher", "imageSku", "imageVersion", "osDiskSize", "priority", "publicKey", "vmSize",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider of machines."""

    title: str
    keys: frozenset[str]
    """Read in `provider`."""
    machine_keys: frozenset[str]
    """Read in `node_config`, or in the mapping of it that `machine_place` names."""
    machine_place: str
    stops_by_default: bool
    """Whether idle machines are stopped, and their disks paid for, unless the file forbids it."""
    machine_type: Callable[[Mapping[str, Any]], str]
    is_spot: Callable[[Mapping[str, Any]], bool]
    name: str
    example: str
    """How a machine is named."""

    def has_gpu(self, machine: Mapping[str, Any]) -> bool:
        """Tells whether a machine has a GPU."""
        return bool(machine.get("guestAccelerators")) or has_gpu(self.machine_type(machine), self.name)


def _is_spot_on_aws(machine: Mapping[str, Any]) -> bool:
    options = machine.get("InstanceMarketOptions")
    return isinstance(options, Mapping) and options.get("MarketType") == "spot"


def _is_spot_on_gcp(machine: Mapping[str, Any]) -> bool:
    # Ray's examples write a list of one-key mappings, which Google takes, too.
    scheduling = machine.get("scheduling") or {}
    parts = scheduling if isinstance(scheduling, list) else [scheduling]
    return any(part.get("preemptible") or part.get("provisioningModel") == "SPOT" for part in parts)


PROVIDERS = {
    "aws": Provider(
        name="aws",
        example="InstanceType: g6.2xlarge",
        title="AWS",
        keys=frozenset(
            _EVERY_PROVIDER
            | {"region", "availability_zone", "security_group", "aws_credentials", "cloudwatch", "key_pair"}
        ),
        machine_keys=frozenset(_AWS_MACHINE),
        machine_place="",
        stops_by_default=True,
        machine_type=lambda machine: str(machine.get("InstanceType", "")),
        is_spot=_is_spot_on_aws,
    ),
    "gcp": Provider(
        name="gcp",
        example="machineType: g2-standard-8",
        title="Google Cloud",
        keys=frozenset(_EVERY_PROVIDER | {"region", "availability_zone", "project_id", "gcp_credentials"}),
        machine_keys=frozenset(_GCP_MACHINE),
        machine_place="",
        stops_by_default=False,
        machine_type=lambda machine: str(machine.get("machineType", "")),
        is_spot=_is_spot_on_gcp,
    ),
    "azure": Provider(
        name="azure",
        example="vmSize: Standard_NC8as_T4_v3",
        title="Azure",
        keys=frozenset(
            _EVERY_PROVIDER
            | {"location", "resource_group", "subscription_id", "tags", "availability_zone", "unique_id"}
            | {"subnet_mask", "msi_name", "msi_resource_group", "use_external_head_ip"}
        ),
        machine_keys=frozenset(_AZURE_PARAMETERS),
        machine_place="azure_arm_parameters",
        stops_by_default=True,
        machine_type=lambda machine: str(machine.get("vmSize", "")),
        is_spot=lambda machine: str(machine.get("priority", "")).lower() in ("spot", "low"),
    ),
}
LOCAL_KEYS = _EVERY_PROVIDER | {"head_ip", "worker_ips", "external_head_ip", "coordinator_address"}
