"""Every private interface of Ray that we use, as it was read in Ray 2.60; no other module touches one.

Ray is imported by the function that needs it: some of them do without, and importing it takes a second.
"""

import contextlib
import copy
import importlib.util
import io
import json
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces.errors import UnavailableError, one_line

READ_IN = "2.60"
AUTH_MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
UPLOAD_LOGGER = "ray._private.runtime_env.packaging"
"""Tells of every package that is sent to a cluster."""
NO_CRASH_HANDLER = "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"
LOST_WORKER = "Ray lost the worker: "
"""Begins the error of a trial whose worker Ray lost in a way that Tune has no word for."""
Settings = Mapping[str, Any]
"""Of a cluster, in the words of Ray's launcher."""


def is_in_job() -> bool:
    """Tells whether this process was started as a job of a cluster, whose code its workers get anyway."""
    from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

    return RAY_JOB_CONFIG_JSON_ENV_VAR in os.environ


@contextlib.contextmanager
def guarded_cluster() -> Iterator[None]:
    """Makes a cluster that this process starts in a `with` block its own: for this machine and with a token only.

    All its processes listen to the loopback device, and answer whoever knows a random token, which they inherit. Who
    sets RAY_AUTH_MODE or a token has that.
    """
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled

    # The setting is named after the systems where it is the default, because of their firewalls.
    chosen = {AUTH_MODE: "token", TOKEN: secrets.token_hex(32), ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
    if TOKEN_PATH in os.environ:
        del chosen[TOKEN]
    added = {name: value for name, value in chosen.items() if name not in os.environ}
    before = ray_constants.ENABLE_RAY_CLUSTER

    def read_again(*, listens_outside: bool) -> None:
        ray_constants.ENABLE_RAY_CLUSTER = listens_outside
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()

    os.environ.update(added)
    read_again(listens_outside=os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] not in ("0", "false"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        read_again(listens_outside=before)


def output_files() -> list[Path]:
    """Returns the files that hold what this worker prints to both streams; none in a process that is no worker."""
    from ray._private.worker import global_worker

    places = (global_worker.get_out_file_path(), global_worker.get_err_file_path())
    return [Path(place) for place in places if place and Path(place).exists()]


def without_crash_handler() -> None:
    """Keeps Ray, which is not imported yet, from aborting this process with a stack trace at SIGTERM."""
    os.environ.setdefault(NO_CRASH_HANDLER, "1")


@contextlib.contextmanager
def signals_left_to_the_driver() -> Iterator[None]:
    """Starts or joins Ray so that signals, to this process or to its whole group, reach the driver's handlers only.

    Of itself Ray ends this process at SIGTERM. And timeout(1), systemd and scancel signal the whole group: Ray would be
    gone before the driver has stopped in order, so its processes get groups of their own, as on Windows. Where the
    kernel cannot end them with the driver, Ray needs the driver's group for that.
    """
    from ray._private import services, utils

    start, set_handler = services.ConsolePopen, utils.set_sigterm_handler
    own_group = {"process_group": 0} if utils.detect_fate_sharing_support() else {}

    def start_apart(command: Any, *, env: Mapping[str, str], **options: Any) -> Any:
        # Ray's own processes and the workers go on telling where they crashed.
        variables = {name: value for name, value in env.items() if name != NO_CRASH_HANDLER}
        return start(command, env=variables, **own_group, **options)

    services.ConsolePopen, utils.set_sigterm_handler = start_apart, lambda handler: None
    try:
        yield
    finally:
        services.ConsolePopen, utils.set_sigterm_handler = start, set_handler
        # Below Python's handler Ray puts one in C++, unless it was imported after `without_crash_handler`.
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def lost_workers_fail_their_trials() -> Iterator[None]:
    """Lets Tune end the trial of a worker that is lost, however Ray tells of it.

    Of itself Tune knows dead actors, and exceptions of the trials. All else that Ray raises for a trial would end the
    sweep, though only one worker is gone: the memory monitor's `OutOfMemoryError` for one, or a lost object.
    """
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.exceptions import RayActorError, RayTaskError

    fail = RayActorManager._actor_task_failed

    # Ray passes both by name.
    def fail_as_dead(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if is_lost_worker(exception) and not isinstance(exception, (RayActorError, RayTaskError)):
            exception = RayActorError(error_msg=f"{LOST_WORKER}{type(exception).__name__}: {one_line(exception)}")
        fail(manager, tracked_actor_task=tracked_actor_task, exception=exception)

    RayActorManager._actor_task_failed = fail_as_dead
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = fail


def is_lost_worker(error: BaseException) -> bool:
    """Tells whether Ray raised an error about one piece of work, and may go on with others."""
    from ray.exceptions import AuthenticationError, LocalRayletDiedError, RayError, RpcError

    return isinstance(error, RayError) and not isinstance(error, (AuthenticationError, LocalRayletDiedError, RpcError))


def launcher_schema() -> dict[str, Any]:
    """Returns the JSON schema of a launcher file.

    Raises:
        UnavailableError: The installed Ray keeps it elsewhere.
    """
    # Where Ray lies is known without importing it.
    spec = importlib.util.find_spec("ray")
    path = Path(spec.origin or "").parent / "autoscaler" / "ray-schema.json" if spec else Path("ray-schema.json")
    if not path.exists():
        raise _moved(str(path))
    return json.loads(path.read_text())


def launcher_objection(settings: Settings) -> str | None:
    """Returns the error at which `ray up` stops before it calls a cloud, in one line; None for a file that it takes.

    Raises:
        UnavailableError: The installed Ray keeps this elsewhere.
    """
    try:
        from ray.autoscaler._private.util import prepare_config, validate_config
    except ImportError as error:
        raise _moved(one_line(error)) from error
    try:
        with _silent():
            validate_config(prepare_config(copy.deepcopy(dict(settings))))
    except Exception as error:  # Ray objects with AssertionError, ValueError, KeyError, click's and jsonschema's errors
        return f"({type(error).__name__}): {one_line(error)}"
    return None


def launcher_machines(settings: Settings) -> list[str]:
    """Asks the provider of a launcher file which machines of the cluster run; raises whatever its library raises."""
    from ray.autoscaler._private.commands import _bootstrap_config, _get_node_provider
    from ray.autoscaler.tags import TAG_RAY_NODE_KIND

    with _silent():
        # With the cache that `ray down` left: filling in a cloud's defaults again would create roles and keys there.
        config = _bootstrap_config(copy.deepcopy(dict(settings)))
        provider = _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)
        machines = provider.non_terminated_nodes({})
        return [f"{provider.node_tags(each).get(TAG_RAY_NODE_KIND, 'node')} {each}" for each in machines]


def kuberay_settings(name: str, namespace: str) -> Settings:
    """Reads what a RayCluster's autoscaler is set to, as that does, with the head's rights; nothing if it has none.

    Raises:
        OSError: Kubernetes does not answer, or refuses.
    """
    # Looks for Kubernetes when it is imported.
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    cluster = KubernetesHttpApiClient(namespace=namespace).get(f"rayclusters/{name}")
    is_scaled = cluster["spec"].get("enableInTreeAutoscaling")
    return _derive_autoscaling_config_from_ray_cr(cluster) if is_scaled else {}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hides what Ray prints and logs of its doings; what goes wrong is told by our own errors."""
    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _moved(what: str) -> UnavailableError:
    return UnavailableError(
        f"the installed Ray keeps the checks of `ray up` elsewhere than Ray {READ_IN} did ({what}): install the Ray of "
        "constraints.txt."
    )
