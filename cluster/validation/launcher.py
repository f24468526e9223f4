"""Checks of `ray up` files: Ray's schema and its own preparation, and what both let through.

Ray's schema looks into neither `provider` nor `node_config`; a typo there is found by the cloud, minutes later and with
a machine already paid for.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cluster.files.prices import find_machine
from cluster.files.render import IDLE_MINUTES
from cluster.files.versions import Versions
from cluster.providers.base import COMMON_FIELDS, OWN_MACHINES_FIELDS, Provider, Rental
from cluster.providers.registry import PROVIDERS, provider_of
from cluster.runtime.ray_internals import launcher_objection, launcher_schema
from cluster.typed_mapping import as_section
from cluster.validation.findings import Finding, did_you_mean, joined, schema_findings, unknown_keys
from cluster.validation.software import check_command, check_environment, check_image, exported
from search_spaces.errors import ConfigError, UnknownNameError

Config = Mapping[str, Any]
COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
_IMAGES = ("image", "head_image", "worker_image")
_READER = "Ray's launcher"


def check_launcher(config: Config, versions: Versions) -> list[Finding]:
    """Returns what is wrong with a `ray up` file, in the order of the file's parts."""
    findings = list(schema_findings(config, launcher_schema(), reader=_READER))
    if findings:
        return findings  # what follows relies on the kinds of values
    findings = [*_check_provider(config), *_check_machines(config), *_check_software(config, versions)]
    # Last, because Ray stops at its first objection and words it for developers.
    if not findings and (objection := launcher_objection(config)):
        findings = [Finding("file", f"`ray up` refuses it {objection}")]
    return findings


def _check_provider(config: Config) -> Iterator[Finding]:
    provider = config["provider"]
    kind = provider["type"]
    if kind == "local":
        yield from unknown_keys(
            provider, OWN_MACHINES_FIELDS, place="provider", reader="Ray's launcher on machines of your own"
        )
        yield from _check_own_machines(config)
        return
    known = provider_of(provider)
    if known is None:
        names = [*PROVIDERS, "local"]
        yield Finding("provider.type", f"{kind!r} is none of {', '.join(names)}.{did_you_mean(kind, names)}")
        return
    fields = COMMON_FIELDS | known.fields
    yield from unknown_keys(provider, fields, place="provider", reader=f"{_READER} on {known.title}")
    if provider.get("cache_stopped_nodes", known.stops_by_default):
        yield Finding(
            "provider.cache_stopped_nodes",
            "idle machines would be stopped, and their disks paid for until they are deleted: write false.",
        )
    if (project := known.project_field) in provider and not provider[project]:
        yield Finding(
            joined("provider", project), f"is empty, and {known.title} bills every machine to a project: name it."
        )
    minutes = config.get("idle_timeout_minutes", IDLE_MINUTES)
    if minutes < IDLE_MINUTES:
        yield Finding(
            "idle_timeout_minutes",
            f"{minutes} minutes is less than a gap between stages, and machines would come and go: write at least "
            f"{IDLE_MINUTES}.",
        )


def _check_own_machines(config: Config) -> Iterator[Finding]:
    for key in ("available_node_types", "head_node_type"):
        if key in config:
            yield Finding(key, "machines of your own have no types: list them in provider.worker_ips instead.")
    if "coordinator_address" not in config["provider"]:
        for key in ("head_ip", "worker_ips"):
            if key not in config["provider"]:
                yield Finding("provider", f"{key!r} is missing: name the machines, or a coordinator_address.")


def _check_machines(config: Config) -> Iterator[Finding]:
    provider = provider_of(config["provider"])
    if provider is None:
        return
    types, head_type = config.get("available_node_types", {}), config.get("head_node_type")
    if head_type not in types:
        yield Finding(
            "head_node_type", f"{head_type!r} is none of available_node_types.{did_you_mean(head_type, types)}"
        )
    for name, node_type in types.items():
        place = joined("available_node_types", name)
        try:
            rental = provider.rental(as_section(node_type["node_config"], ""))
        except ConfigError as error:
            yield Finding(joined(place, "node_config"), str(error))
            continue
        yield from _check_node_config(node_type["node_config"], rental, provider, place=joined(place, "node_config"))
        check = _check_head if name == head_type else _check_gpus
        yield from check(node_type["resources"], rental, provider, place=place)


def _check_node_config(node_config: Config, rental: Rental, provider: Provider, *, place: str) -> Iterator[Finding]:
    machine = node_config
    if provider.machine_place:
        yield from unknown_keys(node_config, {provider.machine_place, "tags"}, place=place, reader=_READER)
        machine, place = node_config.get(provider.machine_place) or {}, joined(place, provider.machine_place)
    yield from unknown_keys(machine, provider.machine_fields, place=place, reader=provider.title)
    if not rental.machine and provider.template_field not in machine:
        example = f"{provider.machine_field}: {provider.default_machine}"
        yield Finding(place, f"names no machine: write, for instance, {example}.")


def _check_head(resources: Config, rental: Rental, provider: Provider, *, place: str) -> Iterator[Finding]:
    if rental.is_spot:
        yield Finding(
            joined(place, "node_config"),
            "the head is a spot machine, and the launch dies when the cloud takes it back: rent it on demand.",
        )
    if resources.get("CPU") != 0 or resources.get("GPU"):
        yield Finding(
            joined(place, "resources"),
            f"the head offers {dict(resources)} and would run trials next to the launch: write {{CPU: 0, GPU: 0}}.",
        )


def _check_gpus(resources: Config, rental: Rental, provider: Provider, *, place: str) -> Iterator[Finding]:
    name, offered = rental.machine, resources.get("GPU", 0)
    if (rental.accelerators or provider.has_gpu(name)) and not offered:
        yield Finding(
            joined(place, "resources"),
            f"{name} has a GPU that no trial would ever get, since `GPU` is not among the resources: write it there.",
        )
    try:
        known = find_machine(name, provider)
    except UnknownNameError:
        return  # newer than our table; the cloud knows
    if offered > known.gpus:
        yield Finding(
            joined(place, "resources"),
            f"GPU: {offered}, but {name} has {known.gpus}: trials would share GPUs that are not there.",
        )


def _check_software(config: Config, versions: Versions) -> Iterator[Finding]:
    commands = {key: config.get(key, []) for key in COMMANDS}
    for key, each in commands.items():
        for position, command in enumerate(each):
            yield from check_command(command, versions, place=joined(key, position))
    docker = config.get("docker", {})
    yield from _check_docker(docker)
    images = [(joined("docker", key), docker[key]) for key in _IMAGES if key in docker]
    for name, node_type in config.get("available_node_types", {}).items():
        if image := node_type.get("docker", {}).get("worker_image"):
            images.append((joined("available_node_types", name, "docker", "worker_image"), image))
    for place, image in images:
        yield from check_image(image, versions, place=place)
    if not commands["setup_commands"]:
        yield Finding("setup_commands", "is empty: machines would get Ray's nightly build, or none, and no dptq-sweep.")
        return
    environment = exported(command for each in commands.values() for command in each)
    mounts: Iterable[str] = config.get("file_mounts", {})
    if environment.get("RAY_AUTH_MODE") == "token" and not any(path.endswith("auth_token") for path in mounts):
        yield Finding(
            "file_mounts",
            "RAY_AUTH_MODE is token, but no machine gets one: mount ~/.ray/auth_token, made by "
            "`ray get-auth-token --generate`.",
        )
    is_local = config["provider"]["type"] == "local"
    yield from check_environment(environment, is_shared_path=is_local, place="setup_commands")


def _check_docker(docker: Config) -> Iterator[Finding]:
    has_image = "image" in docker or ("head_image" in docker and "worker_image" in docker)
    if has_image and not docker.get("container_name"):
        yield Finding("docker", "an image without a container_name: name the container, such as dptq_sweep.")
    if docker.get("container_name") and not has_image:
        yield Finding("docker", "a container_name without an image: name one, or leave docker out.")
