"""Cluster files of every kind, rendered from `cluster/templates`: comments in them say what to edit and what it costs.

One environment carries the sweep's settings to every kind of machine, so that the command stays the laptop's:
`dptq-sweep launch --grid full` reads DPTQ_STORAGE, DPTQ_TRACKING_URI, DPTQ_DATA_DIR and DPTQ_ADDRESS.
"""

import re
import shlex
from dataclasses import dataclass

import jinja2

from cluster.files.kinds import DEFAULT_NAME, DEFAULT_SWEEP, KINDS
from cluster.files.prices import find_machine
from cluster.files.versions import Versions, installed_versions
from cluster.providers.base import Machine
from cluster.providers.registry import PROVIDERS
from search_spaces.errors import ConfigError
from search_spaces.uris import absolute_uri

KUBERNETES = ("rayjob", "raycluster")
IDLE_MINUTES = 5
"""How long a worker may idle: stages follow each other with gaps, and a new machine takes minutes."""
_ANY_GPU_MACHINE = Machine(name="", cpus=8, gpus=1)
_MAX_NAME = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterOptions:
    """What differs from one cluster to another."""

    name: str = DEFAULT_NAME
    """Of the cluster: lower-case letters, digits and `-`."""
    bucket: str = ""
    """Where all machines keep trials: s3://, gs:// or abfss://; an absolute path where machines share a file system."""
    region: str = ""
    instance: str = ""
    """Machine of the workers, by the cloud's name."""
    max_workers: int = 8
    spot_share: float = 0.75
    """Share of the workers that may be spot machines, from 0 to 1."""
    image: str = ""
    """Container image that holds this package."""
    project: str = ""
    """Project that pays for the machines, with providers that ask for one."""
    sweep: tuple[str, ...] = DEFAULT_SWEEP
    """Arguments of `dptq-sweep` that the file runs."""

    @property
    def spot_workers(self) -> int:
        """How many workers may be spot machines; with a share above 0 at least one."""
        return max(round(self.max_workers * self.spot_share), int(self.spot_share > 0))

    @property
    def on_demand_workers(self) -> int:
        """How many workers may be on-demand machines."""
        return self.max_workers - self.spot_workers


def render(kind: str, options: ClusterOptions) -> str:
    """Renders a cluster file of one of the `KINDS`.

    Raises:
        ConfigError: An option breaks a rule, or is missing.
    """
    _check(kind, options)
    versions = installed_versions()
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("cluster"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # YAML and shell, no HTML; what users bring in is checked above
    )
    text = templates.get_template(KINDS[kind]).render(
        kind=kind,
        options=options,
        versions=versions,
        machine=_machine(kind, options),
        region=options.region or (PROVIDERS[kind].default_region if kind in PROVIDERS else ""),
        image=options.image or _default_image(kind, versions),
        storage=options.bucket.rstrip("/"),
        entrypoint=shlex.join(("dptq-sweep", *options.sweep)),
        idle_minutes=IDLE_MINUTES,
    )
    return text.rstrip() + "\n"


def _check(kind: str, options: ClusterOptions) -> None:
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", options.name) or len(options.name) > _MAX_NAME:
        raise ConfigError(
            f"name {options.name!r} cannot name machines: use up to {_MAX_NAME} lower-case letters, digits and '-', "
            "a letter first."
        )
    for what in ("region", "image", "project", "bucket"):
        if not re.fullmatch(r"[\w./:@+-]*", getattr(options, what)):
            raise ConfigError(f"{what} {getattr(options, what)!r} holds more than letters, digits and ./:@+-_")
    if kind in PROVIDERS and PROVIDERS[kind].project_field and not options.project:
        raise ConfigError(f"a cluster on {PROVIDERS[kind].title} belongs to a project: name it with --project.")
    if kind != "dockerfile":
        _check_bucket(kind, options.bucket)


def _check_bucket(kind: str, bucket: str) -> None:
    if not bucket:
        raise ConfigError(
            "a cluster needs a place that all its machines can write: give --bucket, such as s3://my-bucket/dptq."
        )
    absolute_uri(bucket, what="storage")  # refuses credentials
    if "://" not in bucket and (kind in PROVIDERS or not bucket.startswith("/")):
        raise ConfigError(
            f"bucket {bucket!r} is a path, which every machine would have to itself: give s3://..., gs://... or "
            "abfss://..., or with local, slurm, rayjob and raycluster the absolute path of a shared file system."
        )


def _machine(kind: str, options: ClusterOptions) -> Machine:
    if kind in PROVIDERS:
        return find_machine(options.instance or PROVIDERS[kind].default_machine, PROVIDERS[kind])
    if kind in KUBERNETES and options.instance:
        return find_machine(options.instance, *PROVIDERS.values())
    return _ANY_GPU_MACHINE


def _default_image(kind: str, versions: Versions) -> str:
    """Kubernetes has no step that installs anything; virtual machines install the wheel in Ray's image."""
    return f"dptq-sweep:{versions.package}" if kind in KUBERNETES else versions.ray_image
