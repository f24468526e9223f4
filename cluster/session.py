"""A Ray session for a sweep: a local cluster of this machine, or one that runs already."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from search_spaces.errors import UnavailableError

CONNECT_SECONDS = 5.0
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
DRIVER_ENVIRONMENT = {
    # Explicit, because Ray otherwise turns tokens on for local clusters and writes one into the home directory.
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tune's old reporter keeps quiet when told to; the new one prints its tables all the same.
    "RAY_AIR_NEW_OUTPUT": "0",
    # The store keeps what these files would repeat.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextmanager
def session(address: str | None = None) -> Iterator[dict[str, float]]:
    """Connects to Ray for the duration of a `with` block.

    Args:
        address: None starts a cluster on this machine's cores and GPUs; `auto` or `host:port` joins a running one.

    Yields:
        The cluster's resources, e.g. `{"CPU": 2.0, "GPU": 1.0, ...}`.

    Raises:
        UnavailableError: No cluster answers at the address.
    """
    for name, value in DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    check_address(address)
    try:
        ray.init(
            # Without an address Ray would join whatever cluster was started last on this machine.
            address=address or "local",
            runtime_env={"env_vars": WORKER_ENVIRONMENT},
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except ConnectionError as error:
        raise _no_cluster(address) from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def check_address(address: str | None) -> None:
    """Knocks at `host:port`: Ray itself goes on trying a dead address for many minutes.

    Raises:
        UnavailableError: Nobody answers there.
    """
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return  # None, `auto`, or a scheme that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address) from error


def _no_cluster(address: str | None) -> UnavailableError:
    return UnavailableError(
        f"no Ray cluster answers at {address!r}: start one with `ray start --head`, or leave out --address."
    )
