"""A launch as a job of a cluster: the same command line, with the places of this machine spelled out."""

import shlex
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from cluster.files.identify import read_cluster_file
from cluster.remote.dashboards import tunnel
from cluster.remote.jobs import Job, JobRequest, JobServer
from cluster.runtime.ray_internals import is_in_job
from orchestrator.cli.default_names import default_name
from orchestrator.cli.values import choices_of, plan_from_options
from orchestrator.launch.notifications import WEB
from orchestrator.store.provenance.facts import code_variables
from orchestrator.store.provenance.secrets import without_secrets
from orchestrator.store.sweep import check_sweep_name
from orchestrator.tracking.backend import database_of, database_uri
from search_spaces.errors import ConfigError
from search_spaces.grids.template import is_file_name, read_template
from search_spaces.models import model_spec
from search_spaces.uris import absolute_uri, trusted_variables

HEADS_STORAGE = "the head's storage"
"""What is said of the storage of a job whose command line names none."""


def is_dashboard(address: str | None) -> bool:
    """Tells the address of a job server from one that Ray joins.

    Examples:
        >>> is_dashboard("http://head:8265"), is_dashboard("head:6379"), is_dashboard(None)
        (True, False, False)
    """
    return urllib.parse.urlsplit(address or "").scheme in ("http", "https")


@contextmanager
def job_server(place: str) -> Iterator[JobServer]:
    """Opens the job server at an address, or through a tunnel the one of a cluster file.

    Raises:
        ConfigError: The file describes no cluster, or the address holds credentials.
        UnavailableError: There is no answer.
    """
    if is_dashboard(place):
        yield JobServer(place)
        return
    with tunnel(read_cluster_file(Path(place))) as address:
        yield JobServer(address)


def job_request(launch: click.Context) -> JobRequest:
    """Describes a launch to a cluster whose head runs it.

    What is wrong with its options is said here and now. Places that were typed become absolute: on the cluster they are
    the same folder where it is shared, and the head's own where it is not. Places that were not typed are the head's
    to decide, by its environment. A grid file goes along.

    Raises:
        ConfigError: An option breaks a rule, or what goes to the cluster would hold credentials.
    """
    values = launch.params
    choices = choices_of(values)
    plan = plan_from_options(
        values["grid"],
        choices,
        storage=values["storage"],
        data_dir=values["data_dir"],
        download=values["download"],
        runs_here=False,
    )
    # What stands in this machine's environment stays here: it may hold secrets.
    given = {
        name: value
        for name, value in values.items()
        if launch.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if (given.get("on_event") or "").startswith(WEB):
        # Whoever knows such a URL may write to it, and a job's command line is shown to everyone.
        raise ConfigError(
            "--on-event names a URL, and a job's command line is public: leave it out, and set DPTQ_ON_EVENT in the "
            "environment of the cluster's head."
        )
    places: dict[str, Any] = {
        # Spelled out: the job's name is what `status` and a later launch ask for.
        "name": values["name"] or default_name(plan.grid.name, choices),
        "address": "auto",
    }
    if "storage" in given:
        places["storage"] = absolute_uri(values["storage"], what="storage")
    if "data_dir" in given:
        places["data_dir"] = values["data_dir"].absolute()
    check_sweep_name(places["name"])
    files = [Path(values["grid"])] if is_file_name(values["grid"]) else []
    for file in files:
        _check_dataset_of_file(file, plan.grid.dataset.name)
        places["grid"] = file.name
    if values["dataset"]:
        places["dataset"] = plan.grid.dataset.name
    if values["white_boxes"]:
        places["white_boxes"] = tuple(model_spec(uri).uri for uri in values["white_boxes"])
    if values["teacher"]:
        places["teacher"] = model_spec(values["teacher"]).uri
    if (values["teacher_weights"] or "").endswith(".safetensors"):
        places["teacher_weights"] = absolute_uri(values["teacher_weights"], what="weights")
    if database := database_of(values["tracking_uri"] or ""):
        places["tracking_uri"] = database_uri(database)
    arguments = [launch.command.name or "", *as_arguments(launch.command, given | places)]
    if any(without_secrets(argument) != argument for argument in arguments):
        # A job's command line is shown to everyone who opens the dashboard.
        raise ConfigError(
            "an option holds a token, a user name or a password, and a job's command line is public: leave it out and "
            "set it in the environment of the cluster's machines (MLFLOW_TRACKING_USERNAME, AWS_ACCESS_KEY_ID)."
        )
    storage = places.get("storage", HEADS_STORAGE)
    return JobRequest(
        sweep=places["name"],
        storage=storage,
        arguments=arguments,
        files=files,
        environment=code_variables() | trusted_variables(),
    )


def check_place_of_job(launch: click.Context) -> None:
    """Makes sure that a launch that runs as a job keeps its results elsewhere than in the job's own, passing folder.

    Raises:
        ConfigError: Nobody named a storage.
    """
    if is_in_job() and launch.get_parameter_source("storage") is ParameterSource.DEFAULT:
        raise ConfigError(
            "this job has no storage: submit it with --storage, or export DPTQ_STORAGE on the cluster's head."
        )


def as_arguments(command: click.Command, values: Mapping[str, Any]) -> list[str]:
    """Writes values of options as a command line, in the order in which the command declares them.

    Examples:
        >>> options = [click.Option(["--seed"], multiple=True), click.Option(["-n", "--name"])]
        >>> as_arguments(click.Command("x", params=options), {"name": "a b", "seed": (0, 1)})
        ['--seed', '0', '--seed', '1', '--name', 'a b']
    """
    arguments: list[str] = []
    for option in command.params:
        value = values.get(option.name or "")
        if value is None or value is False:
            continue
        flag = max(option.opts, key=len)
        for each in value if isinstance(value, tuple) else (value,):
            arguments += [flag] if each is True else [flag, str(each)]
    return arguments


def submit(request: JobRequest, server: JobServer, console: Console) -> Job:
    """Submits a launch unless its job is not over yet, and says which job it is."""
    job, is_new = server.submit(request)
    how = "submitted" if is_new else f"already submitted ({job.status})"
    console.print(f"job {job.job_id} {how}: sweep {job.sweep} in {job.storage}", highlight=False, soft_wrap=True)
    return job


def follow_to_the_end(job: Job, server: JobServer, place: str, console: Console) -> None:
    """Prints what a job prints until it is over; exits with 1 if it failed. Ctrl-C leaves it alone."""
    try:
        for piece in server.follow(job):
            click.echo(piece, nl=False)
    except KeyboardInterrupt:
        following = shlex.join(["dptq-sweep", "cluster", "logs", job.job_id, "--follow", "--address", place])
        stopping = shlex.join(["dptq-sweep", "cluster", "stop", job.job_id, "--address", place])
        console.print(
            f"\nthe job goes on; follow it with: {following}\n             end it with: {stopping}", soft_wrap=True
        )
        return
    status = server.job(job.job_id).status
    console.print(f"job {job.job_id}: {status}", highlight=False, soft_wrap=True)
    if status == "FAILED":
        sys.exit(1)


def _check_dataset_of_file(path: Path, name: str) -> None:
    """Refuses a grid file whose dataset would be another folder on the cluster."""
    own = read_template(path).dataset.get("name")
    if own is not None and own != name:
        raise ConfigError(
            f"grid file {path} names its dataset by a relative path ({own}), which is another folder on a cluster: "
            f"write {name}, or name it with --dataset."
        )
