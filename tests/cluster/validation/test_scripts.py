"""Every way to spoil a SLURM script or a Dockerfile that we know gives exactly one line; and files that are neither."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.files.render import ClusterOptions, render
from cluster.validation.files import check_file
from search_spaces.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "old", "new", "fragments"),
    [
        ("slurm", 'wait "$step" || wait "$step"', "if true; then", ["line ", "bash: syntax error"]),
        ("slurm", "#!/bin/bash\n", "\n", ["line 1: ", "#!/bin/bash"]),
        ("slurm", "--exclusive", "--exclusiv", ["line ", "no option --exclusiv", "Did you mean 'exclusive'?"]),
        ("slurm", "#SBATCH --exclusive\n", "", ["#SBATCH: without --exclusive"]),
        ("slurm", "--nodes=8", "--nodes=eight", ["--nodes=eight: a whole number"]),
        ("slurm", "--nodes=8", "--nodes", ["--nodes needs a value"]),
        ("slurm", "--time=24:00:00", "--time=1 day", ["--time=1 day is no time"]),
        ("slurm", "#SBATCH --gpus-per-node=1\n", "", ["#SBATCH: asks for no GPUs"]),
        ("slurm", "--ntasks-per-node=1", "--ntasks-per-node=4", ["more than one task per node"]),
        (
            "slurm",
            "set -euo pipefail\n",
            "set -e\n#SBATCH --qos=high\n",
            ["#SBATCH after the first command is not read"],
        ),
        ("slurm", "export RAY_AUTH_MODE=token\n", "", ["script: RAY_AUTH_MODE is None"]),
        ("slurm", "DPTQ_STORAGE=s3://my-bucket/dptq", "DPTQ_STORAGE=trials", ["'trials' is a path"]),
        ("slurm", '--min-nodes "$SLURM_JOB_NUM_NODES"', "", ["without --min-nodes"]),
        ("slurm", "set -euo", "pip install ray==2.9\nset -euo", ["'ray==2.9' does not pin Ray 2.60.0"]),
        ("dockerfile", "FROM rayproject/ray:2.60.0", "FROM rayproject/ray:2.48.0", ["line 8: ", "Ray 2.48.0"]),
        ("dockerfile", "ray[default,tune]==2.60.0", "ray[default,tune]==2.48.0", ["line 14: ", "does not pin Ray"]),
        ("dockerfile", "WORKDIR /home/ray\n", "WORKDR /home/ray\n", ["'WORKDR' is no instruction", "'WORKDIR'"]),
        ("dockerfile", "constraints.txt . &&", "constraints.txt torch &&", ["file: no step installs dptq-sweep"]),
    ],
)
def test_a_spoiled_script_gives_one_line(
    kind: str, old: str, new: str, fragments: list[str], options: ClusterOptions, findings: Callable[[Any], list[str]]
) -> None:
    text = render(kind, options)
    assert old in text
    lines = findings(text.replace(old, new, 1))
    assert len(lines) == 1, lines
    assert [fragment for fragment in fragments if fragment not in lines[0]] == [], lines[0]


@pytest.mark.parametrize("line", ["#SBATCH -N 4", "#SBATCH -N4", "#SBATCH --nodes 4", "#SBATCH --nodes=2-4  # few"])
def test_all_ways_to_write_an_option_are_read(
    line: str, options: ClusterOptions, findings: Callable[[Any], list[str]]
) -> None:
    assert findings(render("slurm", options).replace("#SBATCH --nodes=8", line)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just: yaml\n", "is no cluster file: it holds neither a `provider`"),
        ("", "is no cluster file"),
        ("cluster_name: a\ncluster_name: b\n", "line 2 is no YAML: the key 'cluster_name' stands there twice"),
        ("provider: [\n", "is no YAML"),
    ],
)
def test_what_is_no_cluster_file_is_one_clear_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        check_file(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml cannot be read: No such file"):
        check_file(tmp_path / "none.yaml")
