"""Starting and ending clusters: Ray's real launcher on a pretended cloud, kubectl as a script that notes its calls."""

from pathlib import Path

import pytest
import yaml

from cluster.files.identify import LauncherFile, read_cluster_file
from cluster.remote.dashboards import tunnel
from cluster.remote.launcher import end_cluster, remaining, start_cluster, stays_behind
from search_spaces.errors import UnavailableError

ROOT = Path(__file__).resolve().parents[3]
KUBERAY = "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: dptq, namespace: sweeps}\n"

# Ray leaves it to the garbage collector to close them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file .*ray-config:ResourceWarning")


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are machines; the launcher runs in another process and finds it by the cluster file."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Where the launcher caches what it asked its provider; here and in its own process.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "cloud"
    folder.mkdir()
    return folder


def launcher_file(cloud: Path, **provider: object) -> LauncherFile:
    """A complete file: Ray fills in nothing for a provider that it does not know."""
    provider = {
        "type": "external",
        "module": "tests.cluster.pretend_provider.PretendProvider",
        "folder": str(cloud),
    } | provider
    lists = ("setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands")
    content = {
        "cluster_name": "dptq",
        "provider": provider,
        "max_workers": 2,
        "upscaling_speed": 1,
        "idle_timeout_minutes": 5,
        "auth": {"ssh_user": "nobody"},
        "head_node_type": "head",
        "available_node_types": {"head": {"resources": {"CPU": 2}, "node_config": {}}},
        "head_start_ray_commands": ["ray start --head --autoscaling-config=~/ray_bootstrap_config.yaml"],
        "worker_start_ray_commands": ["ray start --address=$RAY_HEAD_IP:6379"],
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
    } | {name: [] for name in lists}
    path = cloud.parent / "cluster.yaml"
    path.write_text(yaml.safe_dump(content))
    file = read_cluster_file(path)
    assert isinstance(file, LauncherFile)
    return file


@pytest.mark.slow
def test_rays_launcher_starts_a_head_and_ends_it_and_nothing_is_left(cloud: Path) -> None:
    file = launcher_file(cloud)
    assert remaining(file) == []
    start_cluster(file)
    assert "ray start --head" in (cloud / "commands.log").read_text()
    assert remaining(file) == ["head dptq-0"]
    assert end_cluster(file, seconds=0) == []
    assert not list(cloud.glob("*.json"))


@pytest.mark.slow
def test_machines_that_the_launcher_forgot_are_told(cloud: Path) -> None:
    file = launcher_file(cloud, immortal=["dptq-1"])
    for number, kind in enumerate(("head", "worker")):
        (cloud / f"dptq-{number}.json").write_text(f'{{"ray-node-type": "{kind}"}}')
    (cloud / "another-0.json").write_text('{"ray-node-type": "head"}')
    assert end_cluster(file, seconds=0) == ["worker dptq-1"]
    assert {path.stem for path in cloud.glob("*.json")} == {"dptq-1", "another-0"}


def test_a_provider_that_cannot_be_asked_is_one_line_with_the_tag_to_look_for(cloud: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        remaining(launcher_file(cloud, is_broken=True))
    assert "cannot ask provider 'external'" in str(caught.value)
    assert "(no access to https://cloud/v1)" in str(caught.value), "in one line, and without the password"
    assert "ray-cluster-name=dptq" in str(caught.value)


@pytest.mark.slow
def test_a_launcher_that_fails_is_one_line_with_its_command(cloud: Path) -> None:
    with pytest.raises(
        UnavailableError, match=r"`ray up .*cluster.yaml --yes --no-config-cache` failed with exit code 1"
    ):
        start_cluster(launcher_file(cloud, is_broken=True))


@pytest.mark.parametrize(
    ("provider", "warns"),
    [
        ({"type": "aws"}, True),
        ({"type": "gcp", "cache_stopped_nodes": True}, True),
        ({"type": "aws", "cache_stopped_nodes": False}, False),
        ({"type": "local"}, False),
    ],
)
def test_stopped_machines_whose_disks_cost_money_are_told(provider: dict[str, object], warns: bool) -> None:
    file = LauncherFile(path=Path("c.yaml"), name="dptq", content={"provider": provider})
    assert bool(stays_behind(file)) == warns


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that notes its arguments; what it is asked for lies in the file `left`."""
    script = tmp_path / "bin" / "kubectl"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f'case "$1" in get) test ! -e {tmp_path}/left || cat {tmp_path}/left;; '
        f'apply) test ! -e {tmp_path}/broken || {{ echo "error: no route to http://ann:pw@api" >&2; exit 1; }};; esac\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    (tmp_path / "cluster.yaml").write_text(KUBERAY)
    return tmp_path


def test_kuberay_clusters_are_applied_deleted_and_asked_for_by_their_label(kubectl: Path) -> None:
    file = read_cluster_file(kubectl / "cluster.yaml")
    start_cluster(file)
    assert end_cluster(file) == []
    assert (kubectl / "calls").read_text().splitlines() == [
        f"apply --filename {kubectl}/cluster.yaml",
        f"delete --filename {kubectl}/cluster.yaml --ignore-not-found",
        "get rayjobs,rayclusters,jobs,pods,services --namespace sweeps --selector ray.io/cluster=dptq "
        "--output name --ignore-not-found",
    ]


def test_pods_that_kubernetes_did_not_end_are_told(kubectl: Path) -> None:
    (kubectl / "left").write_text("pod/dptq-head\nservice/dptq-head-svc\n")
    left = end_cluster(read_cluster_file(kubectl / "cluster.yaml"), seconds=0)
    assert left == ["pod/dptq-head", "service/dptq-head-svc"]


def test_a_kubectl_that_fails_is_one_line(kubectl: Path) -> None:
    (kubectl / "broken").touch()
    with pytest.raises(UnavailableError, match=r"`kubectl apply --filename .*` failed with exit code 1"):
        start_cluster(read_cluster_file(kubectl / "cluster.yaml"))


def test_without_kubectl_a_kuberay_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster.yaml").write_text(KUBERAY)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = read_cluster_file(tmp_path / "cluster.yaml")
    for act in (start_cluster, end_cluster, remaining):
        with pytest.raises(UnavailableError, match=r"kubectl is not on the PATH, .* install it"):
            act(file)


def test_no_tunnel_to_a_cluster_that_is_not_up(kubectl: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no head of RayCluster 'dptq' .* `dptq-sweep cluster up"):
        with tunnel(read_cluster_file(kubectl / "cluster.yaml")):
            pass


def test_a_tunnel_that_breaks_down_says_why(kubectl: Path) -> None:
    (kubectl / "left").write_text("service/dptq-head-svc\n")
    with pytest.raises(UnavailableError, match=r"no tunnel to the dashboard of cluster 'dptq' \(it said nothing\)"):
        with tunnel(read_cluster_file(kubectl / "cluster.yaml")):
            pass
    assert "port-forward --namespace sweeps service/dptq-head-svc" in (kubectl / "calls").read_text()
