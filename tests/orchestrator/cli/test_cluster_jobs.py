"""A sweep as a job of a real head: submitted twice it is one job, and it leaves what a launch of its own leaves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.heads import Head, running_head
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TIMEOUT_SECONDS = 240
SMALL = ("--grid", "smoke", "--train-images", "100", "--test-images", "50", "--storage", "dptq-sweeps")


@dataclass(frozen=True)
class Cluster:
    """A head, and the folder from which people use it."""

    head: Head
    folder: Path

    def run(self, *arguments: str, code: int = 0, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), **variables},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def cluster(self, command: str, *arguments: str, code: int = 0) -> str:
        # Ray would prefer what stands in the environment.
        other = {"RAY_ADDRESS": "http://127.0.0.1:9", "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}
        return self.run("cluster", command, "--address", self.head.dashboard, *arguments, code=code, **other)

    def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = json.loads(self.cluster("status", "--json"))
        return jobs

    def wait_for(self, path: str) -> None:
        said = partial(self.cluster, "logs")
        wait_until(lambda: list(self.folder.glob(path)), said, seconds=TIMEOUT_SECONDS, pause_seconds=0.1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_head() as head:
        yield Cluster(head, tmp_path_factory.mktemp("people"))


@dataclass(frozen=True)
class Story:
    """What was said when a sweep was submitted, again while it ran, with other options, and followed."""

    submitted: str
    again: str
    other: str
    followed: str
    jobs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def story(cluster: Cluster) -> Story:
    submitted = cluster.cluster("submit", "--", "launch", *SMALL, "--name", "mine")
    again = cluster.cluster("submit", "launch", "--name", "mine", *SMALL)
    other = cluster.cluster("submit", "launch", "--name", "mine", *SMALL, "--max-retries", "1", code=1)
    followed = cluster.cluster("logs", "mine", "--follow")
    return Story(submitted, again, other, followed, cluster.jobs())


def test_submitting_twice_is_one_job(story: Story) -> None:
    (job,) = story.jobs
    assert f"job {job['job_id']} submitted: sweep mine" in story.submitted
    assert f"job {job['job_id']} already submitted (" in story.again
    assert (job["sweep"], job["status"]) == ("mine", "SUCCEEDED")


def test_other_options_while_it_runs_are_refused_in_one_line(story: Story) -> None:
    (line,) = story.other.splitlines()
    assert line.startswith("Error: sweep 'mine' has the job dptq-mine-")
    assert "with other arguments" in line
    assert "cluster stop" in line


def test_the_log_is_that_of_a_launch_and_is_followed_to_the_end(story: Story, cluster: Cluster) -> None:
    assert "plan = store = Optuna = MLflow: 5 done, 0 failed" in story.followed
    assert story.followed.rstrip().endswith(": SUCCEEDED")
    assert "plan = store = Optuna = MLflow: 5 done, 0 failed" in cluster.cluster("logs")


def test_the_storage_is_where_the_relative_path_says_here(story: Story, cluster: Cluster) -> None:
    assert "5 of 5 trials done" in cluster.run("status", "mine")


def test_workers_ran_the_code_of_whoever_submitted(story: Story, cluster: Cluster) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    found = [json.loads(path.read_text()) for path in cluster.folder.glob("dptq-sweeps/pair/*/env.json")]
    assert len(found) == 3
    for facts in found:
        # No difference in full: the code is a copy and no checkout.
        assert (facts["git_commit"], facts["git_diff"]) == (commit, None)
        assert facts["versions"]["dptq-sweep"] != "not installed"


def test_launch_at_a_dashboard_is_the_job_and_its_log(story: Story, cluster: Cluster) -> None:
    said = cluster.run("launch", *SMALL, "--name", "mine", "--address", cluster.head.dashboard)
    first, second = (job["job_id"] for job in cluster.jobs())
    assert second == f"{first}-2", "a job that ended may be submitted again"
    assert f"job {second} submitted" in said
    assert "5 cached, 0 to run" in said
    assert said.rstrip().endswith(f"job {second}: SUCCEEDED")


def test_a_job_that_fails_fails_whoever_follows_it(cluster: Cluster) -> None:
    # Of another seed: nothing of it is done.
    bad = (*SMALL, "--name", "bad", "--seed", "7", "--gpus-per-trial", "1")
    said = cluster.cluster("submit", "--follow", "launch", *bad, code=1)
    assert "Error: trial teacher/" in said
    assert (
        "needs CPU:1 GPU:1; no node type has that (the largest node has CPU:2, and the cluster does not grow)" in said
    )
    assert said.rstrip().endswith(": FAILED")


def test_a_stopped_job_ends_in_order_and_goes_on_when_submitted_again(cluster: Cluster) -> None:
    long = ("launch", *SMALL, "--name", "long", "--set", "pair.epochs=200", "--goal", "robust")
    cluster.cluster("submit", *long)
    cluster.wait_for("dptq-sweeps/pair/*/resume/state.safetensors")
    assert "stops after the running epochs" in cluster.cluster("stop", "long")
    followed = cluster.cluster("logs", "long", "-f")
    assert "stopping: running trials finish their epoch" in followed
    assert "go on with: dptq-sweep resume long" in followed
    assert followed.rstrip().endswith(": STOPPED")
    assert "there is nothing to stop" in cluster.cluster("stop", "long", code=1)
    assert cluster.jobs()[-1]["status"] == "STOPPED"
