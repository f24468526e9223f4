"""Sweeps as jobs of a cluster: its head runs the launch, and the machine that submitted it may leave.

A job's id is made from the sweep's name and storage, so a sweep has at most one job at a time however often it is
submitted, and from wherever. Ray's ids cannot be used twice, not even after a job was deleted; a sweep that is
submitted again after its job ended gets the next number (`dptq-quick-1ebde622-2`), and the logs of all of them stay.
"""

import asyncio
import hashlib
import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.remote.dashboards import check_dashboard
from cluster.runtime.code import code_for_workers
from cluster.runtime.ray_internals import UPLOAD_LOGGER
from search_spaces.errors import ConfigError, UnavailableError, one_line, unknown_name
from search_spaces.files.scratch import scratch_folder
from search_spaces.uris import redact

SWEEP, STORAGE = "dptq.sweep", "dptq.storage"
CHATTY = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", UPLOAD_LOGGER)
"""Loggers of Ray's that tell of every upload and closed connection."""
LONGEST_NAME = 100
"""Letters of a sweep's name in a job's id, which becomes a file name."""
STOP_SECONDS = 900
"""Time for running trials to finish their epoch once a job is told to stop; Ray gives 3 seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRequest:
    """A launch to be run by the head of a cluster."""

    sweep: str
    storage: str
    arguments: Sequence[str]
    """Of the command line, from `launch` on."""
    files: Sequence[Path] = ()
    """Copied into the folder in which the job runs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the job and its workers; anybody who opens the dashboard reads them."""

    @property
    def entrypoint(self) -> str:
        """The command of the head's shell; a module, because nothing may be installed there."""
        return shlex.join(["python", "-m", "orchestrator", *self.arguments])

    @property
    def job_id(self) -> str:
        """The id of the sweep's first job.

        Examples:
            >>> JobRequest(sweep="quick", storage="s3://bucket/sweeps", arguments=["launch"]).job_id
            'dptq-quick-1ebde622'
        """
        digest = hashlib.sha256(f"{self.storage}\n{self.sweep}".encode()).hexdigest()[:8]
        return f"dptq-{self.sweep[:LONGEST_NAME]}-{digest}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A launch that the head runs or ran."""

    job_id: str
    sweep: str
    storage: str
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED, as Ray calls them."""
    entrypoint: str
    started_ms: int
    ended_ms: int | None

    @property
    def is_over(self) -> bool:
        """Whether it ended, well or badly."""
        return JobStatus(self.status).is_terminal()


class JobServer:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        """Connects to a dashboard at `http(s)://HOST:8265`.

        Raises:
            ConfigError: The address holds credentials.
            UnavailableError: There is no answer, or none of Ray.
        """
        check_dashboard(address)
        self._address = address
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        with _as_given(), self._asking():
            self._client = JobSubmissionClient(address)

    def submit(self, request: JobRequest) -> tuple[Job, bool]:
        """Makes sure that a sweep has a job that is not over.

        Returns:
            The job, and whether it is a new one.

        Raises:
            ConfigError: The sweep's job runs with other arguments.
        """
        earlier = [job for job in self.jobs() if job.sweep == request.sweep and job.storage == redact(request.storage)]
        if earlier and not earlier[-1].is_over:
            return _same(earlier[-1], request), False
        job_id = f"{request.job_id}-{len(earlier) + 1}" if earlier else request.job_id
        with scratch_folder() as scratch:
            for file in request.files:
                (scratch / file.name).write_bytes(file.read_bytes())
            is_new = self._create(job_id, request, str(scratch) if request.files else None)
        return _same(self.job(job_id), request), is_new

    def jobs(self) -> list[Job]:
        """Returns all jobs of sweeps, oldest first."""
        with self._asking():
            found = [details for details in self._client.list_jobs() if SWEEP in (details.metadata or {})]
        return sorted((_job(details) for details in found), key=lambda job: job.started_ms)

    def job(self, job_id: str | None) -> Job:
        """Returns a job, by its id, or the name of its sweep, or the latest one.

        Raises:
            UnknownNameError: There is no such job.
            ConfigError: There is no job at all.
        """
        jobs = self.jobs()
        if not jobs:
            raise ConfigError(f"no sweep was submitted to {self._address}: `dptq-sweep cluster submit` does it.")
        matching = [job for job in jobs if job_id in (None, job.job_id, job.sweep)]
        if not matching:
            raise unknown_name("job", job_id or "", [job.job_id for job in jobs])
        return matching[-1]

    def log(self, job: Job) -> str:
        """Returns what a job printed so far."""
        with self._asking():
            return self._client.get_job_logs(job.job_id)

    def follow(self, job: Job) -> Iterator[str]:
        """Yields what a job printed and prints, piece by piece, until it is over."""
        stream = self._client.tail_job_logs(job.job_id)

        async def following() -> str | None:
            return await anext(stream, None)

        with self._asking(), asyncio.Runner() as runner:
            while (piece := runner.run(following())) is not None:
                yield piece

    def stop(self, job: Job) -> None:
        """Tells a job to end in order: its running trials finish their epoch."""
        with self._asking():
            self._client.stop_job(job.job_id)

    def _create(self, job_id: str, request: JobRequest, working_dir: str | None) -> bool:
        """Submits a job; returns False if another submission came first."""
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **request.environment}
        folder = {"working_dir": working_dir} if working_dir else {}
        with self._asking():
            try:
                self._client.submit_job(
                    entrypoint=request.entrypoint,
                    submission_id=job_id,
                    runtime_env=code_for_workers() | {"env_vars": variables} | folder,
                    metadata={SWEEP: request.sweep, STORAGE: redact(request.storage)},
                )
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise
                return False
        return True

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        # What requests raises is an OSError, too.
        except (OSError, RuntimeError, ray.exceptions.RayError) as error:
            raise UnavailableError(
                f"the Ray dashboard at {self._address} refused ({redact(one_line(error))}): it must be that of a head "
                f"with ray[default] {ray.__version__}."
            ) from error


def _same(job: Job, request: JobRequest) -> Job:
    """Returns the job if it does what is asked for."""
    if job.entrypoint != request.entrypoint:
        raise ConfigError(
            f"sweep {request.sweep!r} has the job {job.job_id} with other arguments ({job.entrypoint}), and it is "
            f"{job.status}: wait for it, or end it with `dptq-sweep cluster stop {job.job_id}`, and submit again."
        )
    return job


def _job(details: JobDetails) -> Job:
    metadata: Mapping[str, str] = details.metadata or {}
    return Job(
        job_id=details.submission_id,
        sweep=metadata[SWEEP],
        storage=metadata.get(STORAGE, ""),
        status=str(details.status.value),
        entrypoint=details.entrypoint,
        started_ms=details.start_time or 0,
        ended_ms=details.end_time,
    )


@contextmanager
def _as_given() -> Iterator[None]:
    """Hides what Ray would otherwise prefer to the address that it is given."""
    hidden = {name: os.environ.pop(name, None) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in hidden.items() if value is not None})
