"""Checks of `ray up` files: Ray's schema and its own preparation, and what both let through.

Ray's schema looks into neither `provider` nor `node_config`; a typo there is found by the cloud, minutes later and with
a machine already paid for, or by nobody.
"""

import contextlib
import copy
import importlib
import importlib.util
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.files.render import IDLE_MINUTES
from cluster.files.versions import Versions
from cluster.machines import find_machine
from cluster.validation.findings import Finding, did_you_mean, joined, schema_findings, unknown_keys
from cluster.validation.providers import LOCAL_KEYS, PROVIDERS, Provider
from cluster.validation.software import check_auth_mode, check_command, check_image, check_storage, exported
from search_spaces.errors import UnavailableError, UnknownNameError, one_line

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
    """Returns what is wrong with a `ray up` file, in the order of the file's parts.

    Args:
        config: The parsed file.
        versions: What is installed here.
    """
    findings = list(schema_findings(config, _ray_schema(), reader=_READER))
    if findings:
        return findings  # what follows relies on the kinds of values
    findings = [*_check_provider(config), *_check_machines(config), *_check_software(config, versions)]
    # Last, because Ray stops at its first objection and words it for developers.
    return findings or list(_ray_objection(config))


def _check_provider(config: Config) -> Iterator[Finding]:
    provider = config["provider"]
    kind = provider["type"]
    if kind == "local":
        yield from unknown_keys(provider, LOCAL_KEYS, place="provider", reader="Ray's launcher on machines of your own")
        yield from _check_own_machines(config)
        return
    if kind not in PROVIDERS:
        known = ", ".join([*PROVIDERS, "local"])
        yield Finding("provider.type", f"{kind!r} is none of {known}.{did_you_mean(kind, [*PROVIDERS, 'local'])}")
        return
    traits = PROVIDERS[kind]
    yield from unknown_keys(provider, traits.keys, place="provider", reader=f"{_READER} on {traits.title}")
    if provider.get("cache_stopped_nodes", traits.stops_by_default):
        yield Finding(
            "provider.cache_stopped_nodes",
            "idle machines would be stopped, and their disks paid for until somebody deletes them: write false.",
        )
    if "project_id" in provider and not provider["project_id"]:
        yield Finding("provider.project_id", "is empty, and Google Cloud bills every machine to a project: name it.")
    yield from _check_idle_timeout(config)


def _check_own_machines(config: Config) -> Iterator[Finding]:
    for key in ("available_node_types", "head_node_type"):
        if key in config:
            yield Finding(key, "machines of your own have no types: list them in provider.worker_ips instead.")
    if "coordinator_address" not in config["provider"]:
        for key in ("head_ip", "worker_ips"):
            if key not in config["provider"]:
                yield Finding("provider", f"{key!r} is missing: name the machines, or a coordinator_address.")


def _check_idle_timeout(config: Config) -> Iterator[Finding]:
    minutes = config.get("idle_timeout_minutes", IDLE_MINUTES)
    if minutes < IDLE_MINUTES:
        yield Finding(
            "idle_timeout_minutes",
            f"{minutes} minutes is less than a gap between stages, and machines would come and go: write at least "
            f"{IDLE_MINUTES}.",
        )


def _check_machines(config: Config) -> Iterator[Finding]:
    traits = PROVIDERS.get(config["provider"]["type"])
    if traits is None:
        return
    types, head_type = config.get("available_node_types", {}), config.get("head_node_type")
    if head_type not in types:
        yield Finding(
            "head_node_type", f"{head_type!r} is none of available_node_types.{did_you_mean(head_type, types)}"
        )
    for name, node_type in types.items():
        place = joined("available_node_types", name)
        yield from _check_machine(node_type, traits, place=place)
        if name == head_type:
            yield from _check_head(node_type, traits, place=place)
        else:
            yield from _check_gpus(node_type, traits, place=place)


def _check_machine(node_type: Config, traits: Provider, *, place: str) -> Iterator[Finding]:
    node_config = node_type["node_config"]
    place = joined(place, "node_config")
    if traits.machine_place:
        yield from unknown_keys(node_config, {traits.machine_place, "tags"}, place=place, reader=_READER)
        place = joined(place, traits.machine_place)
    machine = _machine(node_type, traits)
    yield from unknown_keys(machine, traits.machine_keys, place=place, reader=traits.title)
    if not traits.machine_type(machine) and "LaunchTemplate" not in machine:
        yield Finding(place, f"names no machine: write, for instance, {traits.example}.")


def _check_head(node_type: Config, traits: Provider, *, place: str) -> Iterator[Finding]:
    if traits.is_spot(_machine(node_type, traits)):
        yield Finding(
            joined(place, "node_config"),
            "the head is a spot machine, and the launch dies when the cloud takes it back: rent it on demand.",
        )
    offered = {name: node_type["resources"].get(name) for name in ("CPU", "GPU")}
    if offered["CPU"] != 0 or offered["GPU"]:
        yield Finding(
            joined(place, "resources"),
            f"the head offers {dict(node_type['resources'])} and would run trials beside the launch: write "
            "{CPU: 0, GPU: 0}.",
        )


def _check_gpus(node_type: Config, traits: Provider, *, place: str) -> Iterator[Finding]:
    machine = _machine(node_type, traits)
    name, offered = traits.machine_type(machine), node_type["resources"].get("GPU", 0)
    if traits.has_gpu(machine) and not offered:
        yield Finding(
            joined(place, "resources"),
            f"{name} has a GPU that no trial would ever get, since `GPU` is not among the resources: write it there.",
        )
    try:
        known = find_machine(name, traits.name)
    except UnknownNameError:
        return  # newer than our table; the cloud knows
    if offered > known.gpus:
        yield Finding(
            joined(place, "resources"),
            f"GPU: {offered}, but {name} has {known.gpus}: trials would share GPUs that are not there.",
        )


def _machine(node_type: Config, traits: Provider) -> Config:
    node_config: Config = node_type["node_config"]
    return node_config.get(traits.machine_place, {}) if traits.machine_place else node_config


def _check_software(config: Config, versions: Versions) -> Iterator[Finding]:
    is_local = config["provider"]["type"] == "local"
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
    yield from check_auth_mode(environment, place="setup_commands")
    yield from _check_token(config, environment)
    yield from check_storage(
        environment.get("DPTQ_STORAGE"),
        is_shared_path=is_local,
        is_declared="DPTQ_SHARED_STORAGE" in environment,
        place="setup_commands",
    )


def _check_docker(docker: Config) -> Iterator[Finding]:
    has_image = "image" in docker or ("head_image" in docker and "worker_image" in docker)
    if has_image and not docker.get("container_name"):
        yield Finding("docker", "an image without a container_name: name the container, such as dptq_sweep.")
    if docker.get("container_name") and not has_image:
        yield Finding("docker", "a container_name without an image: name one, or leave docker out.")


def _check_token(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    mounts: Iterable[str] = config.get("file_mounts", {})
    if environment.get("RAY_AUTH_MODE") == "token" and not any(path.endswith("auth_token") for path in mounts):
        yield Finding(
            "file_mounts",
            "RAY_AUTH_MODE is token, but no machine gets one: mount ~/.ray/auth_token, made by "
            "`ray get-auth-token --generate`.",
        )


def _ray_schema() -> dict[str, Any]:
    # Importing Ray takes a second; where it lies is known without.
    spec = importlib.util.find_spec("ray")
    path = Path(spec.origin or "").parent / "autoscaler" / "ray-schema.json" if spec else Path("ray-schema.json")
    if not path.exists():
        raise _moved(str(path))
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def _ray_objection(config: Config) -> Iterator[Finding]:
    """Runs the file through what `ray up` does with it before it calls a cloud."""
    try:
        util = importlib.import_module("ray.autoscaler._private.util")
        prepare_config, validate_config = util.prepare_config, util.validate_config
    except (ImportError, AttributeError) as error:
        raise _moved(one_line(error)) from error
    try:
        # Ray prints hints about the defaults it fills in.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            validate_config(prepare_config(copy.deepcopy(dict(config))))
    except Exception as error:  # Ray objects with AssertionError, ValueError, KeyError, click's and jsonschema's errors
        yield Finding("file", f"`ray up` refuses it ({type(error).__name__}): {one_line(error)}")


def _moved(what: str) -> UnavailableError:
    return UnavailableError(
        f"the installed Ray keeps the checks of `ray up` elsewhere than Ray 2.60 did ({what}): install the Ray of "
        "constraints.txt."
    )
