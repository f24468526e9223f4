"""Amazon Web Services: machines of EC2."""

from cluster.providers.base import Provider

PROVIDER = Provider(
    title="AWS",
    default_region="us-west-2",
    default_machine="g6.2xlarge",
    gpu_name=r"(p|g|gr)\d\w*\.",
    fields={"region", "availability_zone", "security_group", "aws_credentials", "cloudwatch", "key_pair"},
    stops_by_default=True,
    # Arguments of EC2's RunInstances, and `SubnetIds`, from which Ray chooses one.
    machine_fields={
        "BlockDeviceMappings", "CapacityReservationSpecification", "CpuOptions", "CreditSpecification",
        "DisableApiTermination", "EbsOptimized", "EnclaveOptions", "HibernationOptions", "IamInstanceProfile",
        "ImageId", "InstanceInitiatedShutdownBehavior", "InstanceMarketOptions", "InstanceType", "KeyName",
        "LaunchTemplate", "LicenseSpecifications", "MaintenanceOptions", "MetadataOptions", "Monitoring",
        "NetworkInterfaces", "Placement", "PrivateDnsNameOptions", "RamdiskId", "SecurityGroupIds", "SecurityGroups",
        "SubnetId", "SubnetIds", "TagSpecifications", "UserData",
    },
    machine_field="InstanceType",
    template_field="LaunchTemplate",
    is_spot=lambda machine: machine.section("InstanceMarketOptions").text("MarketType") == "spot",
    tells_resources=True,
    spot_labels={"eks.amazonaws.com/capacityType": "spot"},
)  # fmt: skip
