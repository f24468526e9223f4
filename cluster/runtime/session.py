"""A Ray session for a sweep: a local cluster of this machine, or one that runs already."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError, RayTaskError

from cluster.runtime.autoscaler import Autoscaler, ask_autoscaler
from cluster.runtime.capacity import Capacity, current_capacity
from cluster.runtime.code import code_for_workers
from cluster.runtime.ray_internals import guarded_cluster, is_in_job, signals_left_to_the_driver
from search_spaces.errors import ConfigError, SweepError, UnavailableError, one_line, shortened
from search_spaces.uris import redact

CONNECT_SECONDS = 5.0
NOT_A_NODE = "No node info found"
"""What Ray says, after half a minute, on a machine without a node of the cluster."""
MAX_REASON = 200
"""Letters that are shown of an error of Ray's, which may be a page."""
# One thread per trial: Ray packs a trial on every core, and two trials with two threads each fight for both.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    # Trials write to the store by absolute path; Tune need not move them into its own folder.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Only work that asks for a GPU may see one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}
_TAKES_JOBS = (
    "takes jobs, and only `launch` makes one: launch again to go on with a sweep there, or type this command on the "
    "cluster's head with --address auto."
)
NOT_JOINED = {
    # A sweep of days would hang on this machine's connection, and Tune's driver belongs next to its trials.
    "ray": "is Ray Client, and its sweep ends with the connection: give the dashboard's address to `launch` instead "
    "(http://HOST:8265), and the cluster's head runs it as a job.",
    "http": _TAKES_JOBS,
    "https": _TAKES_JOBS,
}
"""What is said of an address that is a URI, by its scheme."""
DRIVER_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tune's old reporter keeps quiet when told to; the new one prints its tables all the same.
    "RAY_AIR_NEW_OUTPUT": "0",
    # The store keeps what these files would repeat.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextmanager
def session(
    address: str | None = None, *, environment: Mapping[str, str] | None = None, again: str = "the same command"
) -> Iterator[Capacity]:
    """Connects to Ray for the duration of a `with` block.

    The workers of a joined cluster get the code of this process (`cluster.runtime.code`).

    Args:
        address: None starts a cluster on this machine's cores and GPUs, which nobody else can join or call; `auto` or
            `host:port` joins a running one.
        environment: Variables for the workers of a joined cluster, besides `WORKER_ENVIRONMENT`.
        again: The command that goes on with the work of the block, should Ray break off in it.

    Yields:
        What the cluster has and can grow to.

    Raises:
        ConfigError: The address is of a kind that cannot be joined.
        UnavailableError: No cluster answers at the address, Ray does not start here, or it broke off.
    """
    check_address(address)
    for name, value in DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # A job's workers have both from their job, and Ray refuses to be told twice.
    code, more = (code_for_workers(), environment or {}) if address and not is_in_job() else ({}, {})
    with guarded_cluster() if address is None else nullcontext():
        try:
            _start_or_join(address, {"env_vars": {**WORKER_ENVIRONMENT, **more}} | code)
            # What this process started itself never grows.
            yield current_capacity(Autoscaler() if address is None else ask_autoscaler())
        except Exception as error:
            if (said := _said_by_ray(error)) is None:
                raise
            what = f"{type(said).__name__}: {one_line(said)}"
            raise UnavailableError(
                f"Ray broke off ({shortened(what, MAX_REASON)}), and what is done is kept: go on with `{again}`."
            ) from error
        finally:
            ray.shutdown()


def _start_or_join(address: str | None, runtime_env: Mapping[str, Any]) -> None:
    try:
        with signals_left_to_the_driver():
            ray.init(
                # Without an address Ray would join whatever cluster was started last on this machine.
                address=address or "local",
                runtime_env=runtime_env,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    # It raises whatever goes wrong in it: OSError, ValueError, RuntimeError, errors of its own.
    except Exception as error:
        raise _not_up(error, address) from error


def _said_by_ray(error: BaseException) -> RayError | None:
    """Finds what Ray itself said in an error and in those that caused it; None where our own code went wrong."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, SweepError):
        if isinstance(cause, RayError) and not isinstance(cause, RayTaskError):
            return cause
        cause = cause.__cause__
    return None


def check_address(address: str | None) -> None:
    """Knocks at `host:port`: Ray itself goes on trying a dead address for many minutes.

    Raises:
        ConfigError: The address is of a kind that cannot be joined; says what to do instead.
        UnavailableError: There is no answer.
    """
    if address and "://" in address:
        unknown = "is of an unknown kind: give auto, host:port or http://HOST:8265."
        raise ConfigError(f"--address {redact(address)} {NOT_JOINED.get(address.partition('://')[0], unknown)}")
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return  # None, `auto`, or a name that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address) from error


def _not_up(error: Exception, address: str | None) -> UnavailableError:
    """Says why Ray neither starts nor joins, and what to do about it."""
    if isinstance(error, ConnectionError):
        return _no_cluster(address)
    if NOT_A_NODE in str(error):
        return UnavailableError(
            f"this machine is no node of the cluster at {address!r}, and Ray lets only nodes join: launch with the "
            "dashboard's address instead (http://HOST:8265), and the cluster's head runs it as a job."
        )
    what = f"Ray does not join the cluster at {address!r}" if address else "Ray does not start on this machine"
    return UnavailableError(f"{what} ({one_line(error)[:MAX_REASON]}): {_hint(error)}")


def _hint(error: Exception) -> str:
    if "AF_UNIX path" in str(error):
        return "its sockets lie below TMPDIR, whose path is too long for that: set RAY_TMPDIR to a short one, as /tmp."
    if isinstance(error, AuthenticationError):
        return "set RAY_AUTH_MODE=disabled for a cluster of your own, or RAY_AUTH_TOKEN_PATH to the file of its token."
    if isinstance(error, OSError):
        return "set RAY_TMPDIR to a folder that exists, has room, and is yours to write."
    logs = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray", "session_latest", "logs")
    return f"this machine may be busy, or short of memory: try again; Ray's logs are in {logs}."


def _no_cluster(address: str | None) -> UnavailableError:
    return UnavailableError(
        f"no Ray cluster answers at {address!r}: start one with `ray start --head`, or leave out --address."
    )
