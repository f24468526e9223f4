"""Azure: virtual machines of a resource group."""

from cluster.providers.base import Provider

PROVIDER = Provider(
    title="Azure",
    default_region="eastus",
    default_machine="Standard_NC8as_T4_v3",
    gpu_name=r"(?i)Standard_N[CDGV]",
    fields={
        "location", "resource_group", "subscription_id", "tags", "availability_zone", "unique_id", "subnet_mask",
        "msi_name", "msi_resource_group", "use_external_head_ip",
    },
    stops_by_default=True,
    # Parameters of the template that Ray deploys, and `availability_zone`, which Ray reads itself.
    machine_place="azure_arm_parameters",
    machine_fields={
        "adminUsername", "availability_zone", "billingProfile", "enableAcceleratedNetworking", "evictionPolicy",
        "imageId", "imageOffer", "imagePublisher", "imageSku", "imageVersion", "osDiskSize", "priority", "publicKey",
        "vmSize",
    },
    machine_field="vmSize",
    # `Low` is what Azure called it before.
    is_spot=lambda machine: (machine.text("priority") or "").lower() in ("spot", "low"),
    spot_labels={"kubernetes.azure.com/scalesetpriority": "spot"},
)  # fmt: skip
