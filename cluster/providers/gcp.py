"""Google Cloud: machines of Compute Engine, to some of which GPUs are attached."""

from cluster.providers.base import Provider
from cluster.typed_mapping import Section
from search_spaces.errors import ConfigError


def _is_spot(machine: Section) -> bool:
    # Ray's own examples write `scheduling` as a list of mappings, Google's API as one mapping.
    is_list = isinstance(machine.values.get("scheduling"), list)
    schedulings = list(machine.sections("scheduling")) if is_list else [machine.section("scheduling")]
    return any(each.flag("preemptible") or each.text("provisioningModel") == "SPOT" for each in schedulings)


def _accelerators(machine: Section) -> tuple[str, ...]:
    names: list[str] = []
    for each in machine.sections("guestAccelerators"):
        kind = each.text("acceleratorType")
        if kind is None:
            raise ConfigError(f"{each.place} names no GPU: acceleratorType says which.")
        names += [kind.rpartition("/")[2]] * each.count("acceleratorCount", 1)
    return tuple(names)


PROVIDER = Provider(
    title="Google Cloud",
    default_region="us-central1",
    default_machine="g2-standard-8",
    gpu_name=r"[ag]\d-",
    fields={"region", "availability_zone", "project_id", "gcp_credentials"},
    project_field="project_id",
    stops_by_default=False,
    # Fields of Compute Engine's instances.insert.
    machine_fields={
        "advancedMachineFeatures", "canIpForward", "confidentialInstanceConfig", "deletionProtection", "description",
        "disks", "displayDevice", "guestAccelerators", "hostname", "keyRevocationActionType", "labels", "machineType",
        "metadata", "minCpuPlatform", "networkInterfaces", "networkPerformanceConfig", "params", "reservationAffinity",
        "resourcePolicies", "scheduling", "serviceAccounts", "shieldedInstanceConfig", "sourceInstanceTemplate",
        "sourceMachineImage", "tags",
    },
    machine_field="machineType",
    is_spot=_is_spot,
    accelerators=_accelerators,
    spot_labels={
        "cloud.google.com/gke-spot": "true",
        "cloud.google.com/gke-preemptible": "true",
        "cloud.google.com/gke-provisioning": "spot",
    },
)  # fmt: skip
