"""One check for cluster files of every kind: finds out what a file is, and what is wrong with it."""

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.files.versions import installed_versions
from cluster.validation.dockerfile import check_dockerfile
from cluster.validation.findings import Finding, strict
from cluster.validation.kuberay import KINDS, Schemas, check_manifests
from cluster.validation.launcher import check_launcher
from cluster.validation.slurm import check_script
from search_spaces.errors import ConfigError
from search_spaces.files.yaml_files import parse_documents, read_documents, read_text


@dataclass(frozen=True, slots=True)
class Checked:
    """A cluster file that was looked through."""

    kind: str
    """In words, such as `launcher file`."""
    findings: tuple[Finding, ...]


def check_file(path: Path, crd: Path | None = None) -> Checked:
    """Looks through a cluster file; nothing is asked of a cloud, a cluster or the network.

    Args:
        path: A launcher file, manifests with a RayJob or a RayCluster, an sbatch script or a Dockerfile.
        crd: The operator's own custom resource definition, to check its kind against.

    Raises:
        ConfigError: A file cannot be read, or is none of these.
    """
    text, versions = read_text(path, what="cluster file"), installed_versions()
    if text.startswith("#!") or re.search(r"^#SBATCH", text, flags=re.MULTILINE):
        return Checked("SLURM script", tuple(check_script(text, versions)))
    if re.search(r"^FROM\s", text, flags=re.MULTILINE):
        return Checked("Dockerfile", tuple(check_dockerfile(text, versions)))
    documents = parse_documents(text, what=f"cluster file {path}")
    kinds = [document.get("kind") for document in documents if isinstance(document, dict)]
    if found := [kind for kind in kinds if kind in KINDS]:
        own = _read_crd(crd, found) if crd else {}
        return Checked(" and ".join(found), tuple(check_manifests(documents, versions, own)))
    if len(documents) == 1 and isinstance(documents[0], dict) and documents[0].keys() & {"provider", "cluster_name"}:
        return Checked("launcher file", tuple(check_launcher(documents[0], versions)))
    raise ConfigError(
        f"{path} is no cluster file: it holds neither a `provider` (launcher), a {' or '.join(KINDS)}, #SBATCH lines "
        "(SLURM) nor FROM (Dockerfile)."
    )


def _read_crd(path: Path, found: list[str]) -> Schemas:
    """Returns the schema of a custom resource definition by its kind, as strict as the API server."""
    match read_documents(path, what="definition"):
        case [{"kind": "CustomResourceDefinition", "spec": {"names": {"kind": kind}} as spec}]:
            if kind not in found:
                raise ConfigError(f"the definition {path} is of {kind}, and the file holds {' and '.join(found)}.")
            for version in spec.get("versions", ()):
                if version.get("name") == "v1":
                    return {kind: strict(version["schema"]["openAPIV3Schema"])}
            raise ConfigError("the definition given with --crd has no version v1: take it from KubeRay 1.0 or newer.")
    raise ConfigError(f"{path} holds no CustomResourceDefinition: take KubeRay's, such as ray.io_rayjobs.yaml.")
