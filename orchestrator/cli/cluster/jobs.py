"""`dptq-sweep cluster up`, `down`, `submit`, `status`, `logs` and `stop`: what talks to clusters."""

import datetime
from dataclasses import asdict
from pathlib import Path

import click

from orchestrator.cli.options import FILE, echo_json, json_option
from orchestrator.cli.sweep import launch
from search_spaces.errors import ConfigError, UnavailableError

LOCAL_DASHBOARD = "http://127.0.0.1:8265"
"""With Ray's own default port."""
file_argument = click.argument("file", type=FILE)
place_option = click.option(
    "--address",
    "place",
    default=LOCAL_DASHBOARD,
    show_default=True,
    help="Dashboard of the cluster, http://HOST:8265, or its file, to which a tunnel is opened.",
)
follow_option = click.option("-f", "--follow", is_flag=True, help="Print what the job prints until it is over.")
job_argument = click.argument("job_id", metavar="[JOB]", required=False)
"""A job's id or its sweep; without it the one that was submitted last."""


@click.command("up")
@file_argument
@click.option("--unchecked", is_flag=True, help="Start it whatever `cluster validate` says of the file.")
def up(file: Path, unchecked: bool) -> None:
    """Start the cluster that FILE describes, or bring it up to date: `ray up`, or `kubectl apply` for KubeRay."""
    from cluster.files.identify import read_cluster_file
    from cluster.remote.launcher import start_cluster
    from cluster.validation.files import check_file

    cluster = read_cluster_file(file)
    if not unchecked and (findings := check_file(file).findings):
        more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        raise ConfigError(
            f"{file}: {findings[0]}{more}: see `dptq-sweep cluster validate {file}`, or start it with --unchecked."
        )
    start_cluster(cluster)
    click.echo(f"cluster {cluster.name} is up; run a sweep on it with: dptq-sweep cluster submit {file} launch ...")
    click.echo(f"end it with: dptq-sweep cluster down {file}")


@click.command("down")
@file_argument
def down(file: Path) -> None:
    """End the cluster that FILE describes, and ask its provider what is left; exits with 1 if anything is."""
    from cluster.files.identify import read_cluster_file
    from cluster.remote.launcher import end_cluster, stays_behind

    # Not validated: what was started by an older version must still come down.
    cluster = read_cluster_file(file)
    left = end_cluster(cluster)
    for each in left:
        click.echo(f"left: {each}")
    if left:
        raise UnavailableError(
            f"{len(left)} parts of cluster {cluster.name!r} are left and may cost money: call `dptq-sweep cluster down "
            f"{file}` again, or delete them by hand."
        )
    click.echo(f"cluster {cluster.name} is down: nothing is left that carries its name")
    if warning := stays_behind(cluster):
        raise UnavailableError(warning)


# Everything after the first word belongs to `launch`, as if it were typed alone.
@click.command("submit", context_settings={"allow_interspersed_args": False})
@click.option("--address", help=f"Dashboard of the cluster, in place of FILE. [default: {LOCAL_DASHBOARD}]")
@follow_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[FILE] [--] launch [ARGS]...")
def submit_command(address: str | None, follow: bool, words: tuple[str, ...]) -> None:
    """Run a launch on the head of a cluster, as a job that goes on without this machine.

    FILE describes the cluster, and a tunnel to it is opened; or --address names its dashboard. Submitting again while
    the job runs changes nothing; after its end it is a new job, which goes on with the sweep.
    """
    from orchestrator.cli.remote import follow_to_the_end, job_request, job_server, submit
    from orchestrator.console import make_console

    file, words = (None, words) if words[:1] == ("launch",) else (words[:1], words[1:])
    # click leaves a -- in place that follows a FILE.
    words = words[1:] if words[:1] == ("--",) else words
    if words[:1] != ("launch",):
        raise click.UsageError("expected [FILE] -- launch ARGS...: only a launch can be submitted.")
    if file and address:
        raise click.UsageError("FILE and --address exclude each other: both name the cluster.")
    place = file[0] if file else address or LOCAL_DASHBOARD
    with launch.command.make_context("launch", list(words[1:]), parent=click.get_current_context()) as context:
        if context.params["address"] not in (None, "auto"):
            raise click.UsageError("--address goes in front of `launch`: the job joins the cluster that runs it.")
        request = job_request(context)
    console = make_console()
    with job_server(place) as server:
        job = submit(request, server, console)
        if follow:
            follow_to_the_end(job, server, place, console)
        else:
            click.echo(f"follow it with: dptq-sweep cluster logs {job.job_id} -f --address {place}")


@click.command("status")
@place_option
@json_option
def status(place: str, as_json: bool) -> None:
    """List the sweeps that were submitted to a cluster, the latest last."""
    from rich.table import Table

    from orchestrator.cli.remote import job_server
    from orchestrator.console import make_console

    with job_server(place) as server:
        jobs = server.jobs()
    if as_json:
        echo_json([asdict(job) for job in jobs])
        return
    table = Table("job", "sweep", "status", "started", "minutes", "storage", box=None)
    now_ms = datetime.datetime.now(datetime.UTC).timestamp() * 1000
    for job in jobs:
        started = datetime.datetime.fromtimestamp(job.started_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
        minutes = f"{((job.ended_ms or now_ms) - job.started_ms) / 60_000:.0f}"
        table.add_row(job.job_id, job.sweep, job.status, started, minutes, job.storage)
    make_console().print(table)


@click.command("logs")
@job_argument
@follow_option
@place_option
def logs(job_id: str | None, follow: bool, place: str) -> None:
    """Print what a job printed; JOB is its id or its sweep, by default the latest job."""
    from orchestrator.cli.remote import follow_to_the_end, job_server
    from orchestrator.console import make_console

    with job_server(place) as server:
        job = server.job(job_id)
        if follow:
            follow_to_the_end(job, server, place, make_console())
        else:
            click.echo(server.log(job), nl=False)


@click.command("stop")
@job_argument
@place_option
def stop(job_id: str | None, place: str) -> None:
    """End a job in order: its running trials finish their epoch. Submitting it again goes on."""
    from orchestrator.cli.remote import job_server

    with job_server(place) as server:
        job = server.job(job_id)
        if job.is_over:
            raise UnavailableError(f"job {job.job_id} is {job.status}: there is nothing to stop.")
        server.stop(job)
    click.echo(f"job {job.job_id} stops after the running epochs")


COMMANDS = (up, down, submit_command, status, logs, stop)
