"""Cluster files: which kind one is, what its cluster is called, and one line for those that describe none."""

from pathlib import Path

import pytest

from cluster.files.identify import KubeRayFile, LauncherFile, read_cluster_file
from search_spaces.errors import ConfigError

RAY_CLUSTER = "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: dptq, namespace: sweeps}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def test_a_file_for_rays_launcher_has_a_name_and_a_provider(tmp_path: Path) -> None:
    file = read_cluster_file(write(tmp_path, "cluster_name: dptq\nprovider: {type: aws, region: us-west-2}\n"))
    assert isinstance(file, LauncherFile)
    assert (file.name, file.provider) == ("dptq", {"type": "aws", "region": "us-west-2"})


def test_a_kuberay_file_is_found_by_the_label_of_its_kind(tmp_path: Path) -> None:
    claim = "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n---\n"
    file = read_cluster_file(write(tmp_path, claim + RAY_CLUSTER))
    assert isinstance(file, KubeRayFile)
    assert (file.name, file.namespace, file.selector) == ("dptq", "sweeps", "ray.io/cluster=dptq")
    job = read_cluster_file(
        write(tmp_path, RAY_CLUSTER.replace("RayCluster", "RayJob").replace(", namespace: sweeps", ""))
    )
    # KubeRay gives a job's cluster a name of its own, and notes whose it is.
    assert isinstance(job, KubeRayFile)
    assert (job.namespace, job.selector) == (None, "ray.io/originated-from-cr-name=dptq")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("cluster_name: [a", ("is no YAML", "line 1")),
        ("- a", ("something else than mappings", "cluster_name")),
        ("", ("describes 0 clusters (nothing)", "RayCluster or RayJob")),
        ("cluster_name: dptq\n", ("describes 0 clusters", "`provider`")),
        ("apiVersion: v1\nkind: Pod\n", ("describes 0 clusters (Pod)", "RayCluster or RayJob")),
        (f"{RAY_CLUSTER}---\n{RAY_CLUSTER}", ("describes 2 clusters (RayCluster, RayCluster)", "one")),
        ("apiVersion: ray.io/v1\nkind: RayJob\n", ("RayJob", "metadata.name")),
        ("apiVersion: example.com/v1\nkind: RayCluster\nmetadata: {name: x}\n", ("describes 0 clusters",)),
    ],
)
def test_a_file_that_describes_no_cluster_is_one_line(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_cluster_file(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert [part for part in ("cluster.yaml", *parts) if part not in str(caught.value)] == []


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file"):
        read_cluster_file(tmp_path / "none.yaml")
