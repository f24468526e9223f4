"""Another provider is one module, its template and its prices; docs/developing.md has this example."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("search_spaces", "trainables", "cluster", "orchestrator")
STEPS = "teacher=0.1,distill=0.1,pair=0.1"
MODULE = '''\
"""Nimbus: a cloud that is made up."""

from cluster.providers.base import Provider

PROVIDER = Provider(
    title="Nimbus",
    module="nimbus_ray.NodeProvider",
    default_region="north-1",
    default_machine="gpu-l4-8",
    gpu_name="gpu-",
    fields={"region"},
    stops_by_default=False,
    machine_fields={"size", "market"},
    machine_field="size",
    is_spot=lambda machine: machine.text("market") == "spot",
)
'''
TEMPLATE = """\
{% extends "launcher.yaml.j2" %}
{% block title %}Nimbus{% endblock %}
{% block provider %}
  type: external
  module: nimbus_ray.NodeProvider
  region: {{ region }}
{% endblock %}
{% block machine_notes %}
# Ray fills these in for its own providers only.
cluster_synced_files: []
file_mounts_sync_continuously: false
{% endblock %}
{% block head_config %}
      size: cpu-4
{% endblock %}
{% block worker_config %}
      size: {{ machine.name }}
{% endblock %}
{% block spot_config %}
      market: spot
{% endblock %}
{% block head_setup %}
  - pip install nimbus-ray
{% endblock %}
"""
PRICES = """\
  gpu-l4-8: {on_demand: 0.80, spot: 0.30, cpus: 8, gpus: 1, gpu: L4}
  cpu-4: {on_demand: 0.10, spot: 0.05, cpus: 4}
"""


# What `cluster render` and `cluster validate` call; the commands themselves take seconds to import.
RENDER_AND_VALIDATE = """
from pathlib import Path
from cluster.files.render import ClusterOptions, render
from cluster.validation.files import check_file

text = render("nimbus", ClusterOptions(bucket="s3://my-bucket/dptq"))
Path("nimbus.yaml").write_text(text)
Path("typo.yaml").write_text(text.replace("market: spot", "markt: spot"))
for name in ("nimbus.yaml", "typo.yaml"):
    for finding in check_file(Path(name)).findings:
        print(f"{name}: {finding}")
"""


def run(checkout: Path, *arguments: str) -> str:
    """Runs Python on the packages of a checkout and returns what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_one_module_a_template_and_prices_are_all_that_another_provider_takes(tmp_path: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "cluster/providers/nimbus.py").write_text(MODULE)
    (tmp_path / "cluster/templates/nimbus.yaml.j2").write_text(TEMPLATE)
    with (tmp_path / "cluster/files/prices.yaml").open("a") as prices:
        prices.write(PRICES)

    (finding,) = run(tmp_path, "-c", RENDER_AND_VALIDATE).splitlines()
    place = "available_node_types.spot.node_config.markt"
    assert finding == f"typo.yaml: {place}: Nimbus knows no such field. Did you mean 'market'?"
    spot = yaml.safe_load((tmp_path / "nimbus.yaml").read_text())["available_node_types"]["spot"]
    assert spot["node_config"] == {"size": "gpu-l4-8", "market": "spot"}
    assert spot["resources"] == {"CPU": 8, "GPU": 1}

    plan = ("plan", "--grid", "quick", "--cluster", "nimbus.yaml", "--step-seconds", STEPS)
    said = run(tmp_path, "-m", "orchestrator", *plan).splitlines()
    workers = next(line.split() for line in said if line.startswith("spot (spot)"))
    assert ("gpu-l4-8" in workers, "0.300" in workers, "0.800" in workers) == (True, True, True)
