"""Rendered cluster files: they pass every check there is, and say what they were asked to say."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cluster.files.render import KINDS, KUBERNETES, ClusterOptions, render
from cluster.files.versions import installed_versions
from cluster.providers.base import Machine
from cluster.providers.registry import PROVIDERS
from cluster.validation.files import check_file
from search_spaces.errors import ConfigError, UnknownNameError

ROOT = Path(__file__).resolve().parents[3]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
VERSIONS = installed_versions()
INSTANCES = {
    "aws": "p4d.24xlarge",
    "gcp": "a2-highgpu-8g",
    "azure": "Standard_NC96ads_A100_v4",
    "rayjob": "g5.12xlarge",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "others",
    [
        {},
        {"spot_share": 0.0, "max_workers": 1},
        {"spot_share": 1.0, "max_workers": 200, "name": "big-1"},
        {"image": "my.registry:5000/team/dptq-sweep:7", "bucket": "gs://other/place/"},
        {"instance": True},
        {"sweep": ("launch", "--grid", "my file.yaml", "--set", "pair.margin=0.05")},
    ],
    ids=lambda others: "-".join(others) or "defaults",
)
def test_what_is_rendered_has_no_findings(
    kind: str, others: dict[str, Any], options: ClusterOptions, tmp_path: Path
) -> None:
    if others == {"instance": True}:
        others = {"instance": INSTANCES.get(kind, "")}
    path = tmp_path / "file"
    path.write_text(render(kind, replace(options, **others)))
    assert check_file(path).findings == ()


@pytest.mark.parametrize("kind", [*PROVIDERS, "local"])
def test_ray_itself_accepts_launcher_files(kind: str, rendered: Callable[[str], Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(rendered(kind))
    validate_config(prepared)
    # Nothing of Ray's defaults is left to chance: they install nightly builds.
    assert not [command for command in prepared["head_setup_commands"] if "ray-wheels" in command]


NAMED_VERSIONS = {
    "pip": (r"\bray\[[\w,]+\]==([\d.]+\d)", PINS["ray"]),
    "image": (r"rayproject/ray:([\d.]+-py\d+)", f"{PINS['ray']}-py{VERSIONS.python.replace('.', '')}"),
    "operator": (r"rayVersion: \"(.*)\"", PINS["ray"]),
    "comment": (r"with Ray ([\d.]+\d) and Python", PINS["ray"]),
    "mlflow": (r"mlflow==([\d.]+\d)", PINS["mlflow"]),
}
"""How a file names a version, and which one it must be."""
PLACES_OF_VERSIONS = {
    **dict.fromkeys(PROVIDERS, ("pip", "image")),
    "local": ("pip",),
    "rayjob": ("operator",),
    "raycluster": ("operator",),
    "slurm": ("comment",),
    "dockerfile": ("pip", "image", "mlflow"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_versions_are_those_that_are_installed_and_pinned(kind: str, options: ClusterOptions) -> None:
    assert (VERSIONS.ray, VERSIONS.mlflow) == (PINS["ray"], PINS["mlflow"])
    text = render(kind, options)
    found = {name: {*re.findall(pattern, text)} for name, (pattern, _) in NAMED_VERSIONS.items()}
    assert found == {
        name: {version} if name in PLACES_OF_VERSIONS[kind] else set() for name, (_, version) in NAMED_VERSIONS.items()
    }
    assert VERSIONS.package in text


def test_the_wheel_is_named_as_pip_names_it() -> None:
    assert re.fullmatch(r"\d+(\.\d+)+", VERSIONS.package)
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{VERSIONS.package}"' in project


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_head_is_on_demand_and_runs_no_trial(kind: str, rendered: Callable[[str], Any]) -> None:
    types = rendered(kind)["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    said = {name: re.findall("spot", str(each["node_config"]), re.IGNORECASE) for name, each in types.items()}
    assert {name for name, words in said.items() if words} == {"spot"}


@pytest.mark.parametrize(
    ("share", "num_workers", "expected"), [(0.75, 8, (6, 2)), (0, 8, (0, 8)), (1, 8, (8, 0)), (0.1, 3, (1, 2))]
)
@pytest.mark.parametrize("kind", ["aws", "raycluster"])
def test_workers_are_divided_as_asked(
    kind: str, share: float, num_workers: int, expected: tuple[int, int], options: ClusterOptions
) -> None:
    text = render(kind, replace(options, spot_share=share, max_workers=num_workers))
    first = next(iter(yaml.safe_load_all(text)))
    if kind == "aws":
        found = {name: each["max_workers"] for name, each in first["available_node_types"].items()}
    else:
        found = {group["groupName"]: group["maxReplicas"] for group in first["spec"]["workerGroupSpecs"]}
    counts = found.get("spot", 0), found.get("on_demand", found.get("on-demand", 0))
    assert counts == expected


@pytest.mark.parametrize("kind", KUBERNETES)
def test_mlflow_answers_to_the_name_by_which_trials_are_logged(kind: str, options: ClusterOptions) -> None:
    documents = list(yaml.safe_load_all(render(kind, replace(options, name="night-7"))))
    by_kind = {document["kind"]: document for document in documents}
    assert by_kind["Service"]["metadata"]["name"] == "night-7-mlflow"
    pods = by_kind["Deployment"]["spec"]["template"]
    assert pods["metadata"]["labels"] == by_kind["Service"]["spec"]["selector"]
    assert "--allowed-hosts=night-7-mlflow:5000,localhost:*,127.0.0.1:*" in pods["spec"]["containers"][0]["args"]
    assert 'value: "http://night-7-mlflow:5000"' in render(kind, replace(options, name="night-7"))


def test_a_rayjob_runs_the_sweep_and_cleans_up(options: ClusterOptions) -> None:
    sweep = ("launch", "--grid", "my file.yaml", "--goal", "robust")
    job = next(iter(yaml.safe_load_all(render("rayjob", replace(options, sweep=sweep)))))["spec"]
    assert job["entrypoint"] == "dptq-sweep launch --grid 'my file.yaml' --goal robust"
    assert job["shutdownAfterJobFinishes"]
    assert job["ttlSecondsAfterFinished"] > 0
    assert job["rayClusterSpec"]["autoscalerOptions"]["idleTimeoutSeconds"] >= 300


@pytest.mark.parametrize("kind", [*PROVIDERS, "local", "slurm"])
def test_shell_in_the_files_is_shell(kind: str, options: ClusterOptions, rendered: Callable[[str], Any]) -> None:
    if kind == "slurm":
        scripts = [render(kind, options)]
    else:
        scripts = [line for key, lines in rendered(kind).items() if key.endswith("_commands") for line in lines]
        assert len(scripts) > 8
    for script in scripts:
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0, script


@pytest.mark.parametrize(
    ("kind", "others", "message"),
    [
        ("aws", {"bucket": ""}, r"give --bucket"),
        ("aws", {"bucket": "/mnt/shared"}, r"'/mnt/shared' is a path"),
        ("slurm", {"bucket": "shared"}, r"'shared' is a path"),
        ("aws", {"bucket": "s3://key:secret@bucket"}, r"holds credentials"),
        ("gcp", {"project": ""}, r"name it with --project"),
        ("aws", {"name": "My Cluster"}, r"'My Cluster' cannot name machines"),
        ("aws", {"name": "a" * 41}, r"up to 40"),
        ("aws", {"image": "x}}\nhead: y"}, r"holds more than letters"),
        ("aws", {"instance": "g5.2xlrge"}, r"unknown instance 'g5.2xlrge'. Did you mean 'g5.2xlarge'"),
    ],
)
def test_bad_options_are_one_clear_line(
    kind: str, others: dict[str, Any], message: str, options: ClusterOptions
) -> None:
    with pytest.raises(ConfigError, match=message):
        render(kind, replace(options, **others))


def test_an_instance_of_another_cloud_is_unknown(options: ClusterOptions) -> None:
    with pytest.raises(UnknownNameError, match="g2-standard-8"):
        render("aws", replace(options, instance="g2-standard-8"))


@pytest.mark.parametrize("kind", ["slurm", "local"])
def test_machines_with_a_shared_file_system_need_no_bucket(kind: str, options: ClusterOptions, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(render(kind, replace(options, bucket="/shared/dptq")))
    assert check_file(path).findings == ()
    assert "DPTQ_DATA_DIR=/shared/dptq/data" in path.read_text()
    spoiled = re.sub(r"export DPTQ_SHARED_STORAGE=1", "true", path.read_text())
    path.write_text(spoiled)
    (finding,) = check_file(path).findings
    assert "export DPTQ_SHARED_STORAGE=1" in str(finding)


def test_workers_offer_what_the_machine_has(options: ClusterOptions) -> None:
    config = yaml.safe_load(render("aws", replace(options, instance="g5.12xlarge")))
    machine = Machine(name="g5.12xlarge", cpus=48, gpus=4)
    for name in ("spot", "on_demand"):
        assert config["available_node_types"][name]["resources"] == {"CPU": machine.cpus, "GPU": machine.gpus}
        assert config["available_node_types"][name]["node_config"]["InstanceType"] == machine.name


def one_line_each(text: str) -> str:
    """Joins commands that go over several lines."""
    return re.sub(r"(\\\n|\n    (?=--)) *", " ", text)


@pytest.mark.parametrize("kind", [*PROVIDERS, "local", "slurm"])
def test_ray_knows_every_option_that_a_file_gives_it(kind: str, options: ClusterOptions) -> None:
    from ray.scripts.scripts import cli

    names = "start|stop|symmetric-run|attach|dashboard|get-auth-token"
    lines = re.findall(rf"\bray ({names})\b([^;>`\n#]*)", one_line_each(render(kind, options)))
    assert len(lines) >= 1
    for name, rest in lines:
        words = shlex.split(re.sub(r"\$SLURM_\w+", "8", rest.partition(" -- ")[0]))
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        context = command.make_context(name, words)
        if name == "symmetric-run":  # hands what it does not know to `ray start`
            start = cli.get_command(click.Context(cli), "start")
            assert start is not None
            start.make_context("start", ["--head", *context.params["ray_args_and_entrypoint"]])


def test_mlflow_knows_every_option_that_a_file_gives_it(options: ClusterOptions) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "mlflow", "server", "--help"], capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"--[a-z-]+", shown.stdout))
    for kind in ("aws", "local"):
        (server,) = re.findall(r"mlflow server (.*)", one_line_each(render(kind, options)))
        given = set(re.findall(r"--[a-z-]+", server))
        assert {"--host", "--port", "--backend-store-uri"} <= given <= known
    (args,) = re.findall(r"command: \[mlflow, server\]\s+args:((?:\s+(?:- --|#).*)+)", render("raycluster", options))
    given = set(re.findall(r"- (--[a-z-]+)=", args))
    assert len(given) == 6
    assert given <= known
