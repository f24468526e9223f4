"""Tells a command or a webhook what happens to a sweep; a failing one never fails the sweep."""

import http.client
import json
import os
import queue
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from orchestrator.plan import Node
from orchestrator.results.standing import Count
from orchestrator.store.records import TrialRecord
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.errors import ConfigError, one_line

HOOK_SECONDS = 30.0
"""How long a command or a server may take for one event."""
LOOK_EVERY_SECONDS = 1.0
WEB = ("http://", "https://")


class Event(StrEnum):
    """What is told."""

    TRIAL_FAILED = "trial-failed"
    SWEEP_DONE = "sweep-done"
    CAP_HIT = "cap-hit"
    STALLED = "stalled"


def check_target(target: str | None) -> None:
    """Checks what --on-event names, before anything runs.

    Raises:
        ConfigError: It is a URL with a user name, which webhooks do not take; not repeated in the error.
    """
    if target and target.startswith(WEB) and "@" in target.split("/")[2]:
        raise ConfigError(
            "the --on-event URL holds a user name or password, which is not sent: use a URL with its token in the "
            "path, or a command such as `curl`; DPTQ_ON_EVENT keeps either off the command line."
        )


def kind_of_target(target: str | None) -> str | None:
    """Says what --on-event names as far as anybody may know it: tokens are in paths and in command lines.

    Examples:
        >>> kind_of_target("https://hooks.example.com/services/T0/secret"), kind_of_target("curl -d @- -u me:secret x")
        ('a URL of hooks.example.com', 'a command')
    """
    if not target:
        return None
    if not target.startswith(WEB):
        return "a command"
    try:
        host = urllib.parse.urlsplit(target).hostname
    except ValueError:
        host = None
    return f"a URL of {host}" if host else "a URL"


class Hook:
    """Listens to a launch and tells one command or URL, from a thread of its own."""

    def __init__(
        self,
        target: str,
        sweep: Sweep,
        say: Callable[[str], None],
        *,
        stalled_seconds: float,
        hook_seconds: float = HOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares to tell; `with` starts the thread.

        Args:
            target: A shell command, which gets the event as DPTQ_EVENT and a JSON object on its input, or an http(s)
                URL, which gets the object as a POST.
            sweep: Whose events.
            say: Takes one line about the first event that could not be told.
            stalled_seconds: Without any finished epoch while trials run, after which the sweep counts as stalled.
            hook_seconds: Longest wait for the target.
            clock: Seconds, from any zero.
        """
        self._target, self._sweep, self._say = target, sweep, say
        self._stalled_seconds, self._hook_seconds, self._clock = stalled_seconds, hook_seconds, clock
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, name="events", daemon=True)
        self._running: dict[str, str] = {}
        self._last_sign = clock()
        self._has_failed = False

    def __enter__(self) -> "Hook":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        # What is queued is still told, each within its time.
        self._queue.put(None)
        self._thread.join()

    def started(self, node: Node, record: TrialRecord | None) -> None:
        """A trial was handed to a worker."""
        self._running[node.uid] = node.name
        self._last_sign = self._clock()

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        self._last_sign = self._clock()

    def ended(self, node: Node) -> None:
        """A trial ended, well or badly."""
        self._running.pop(node.uid, None)
        self._last_sign = self._clock()
        self._queue.put(lambda: self._tell_failure(node))

    def tell(self, event: Event, **facts: Any) -> None:
        """Tells an event soon; returns at once."""
        self._queue.put(lambda: self._deliver(event, facts))

    def tell_end(self, count: Count, cap: str | None) -> None:
        """Tells soon that the launch is over, and which cap ended it."""
        event, about = (Event.CAP_HIT, {"cap": cap}) if cap else (Event.SWEEP_DONE, {})
        self.tell(event, trials=count.needed, done=count.done, failed=count.failed, **about)

    def _serve(self) -> None:
        is_stalled = False
        while True:
            try:
                action = self._queue.get(timeout=min(LOOK_EVERY_SECONDS, self._stalled_seconds))
            except queue.Empty:
                silent = self._clock() - self._last_sign
                was_stalled, is_stalled = is_stalled, bool(self._running) and silent >= self._stalled_seconds
                if is_stalled and not was_stalled:
                    facts = {"silent_minutes": silent / 60, "running": sorted(self._running.values())}
                    self._deliver(Event.STALLED, facts)
                continue
            if action is None:
                return
            action()

    def _tell_failure(self, node: Node) -> None:
        folder = trial_of(self._sweep.store, node)
        state = folder.state()
        if state.is_failed and (headline := folder.headline()):
            facts = {"uid": node.uid, "name": node.name, "state": str(state), "error": headline.line}
            self._deliver(Event.TRIAL_FAILED, facts)

    def _deliver(self, event: Event, facts: Mapping[str, Any]) -> None:
        """Tells the target. Whatever is wrong with it is the user's to know and no reason to stop."""
        content = {"event": str(event), "sweep": self._sweep.name, "storage": self._sweep.store.uri, **facts}
        try:
            self._send(event, json.dumps(content).encode())
        except (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError) as error:
            if not self._has_failed:
                self._has_failed = True
                self._say(f"--on-event {self._name()} did not take {event}: {self._reason(error)}; the sweep goes on.")

    def _send(self, event: Event, content: bytes) -> None:
        if self._is_url:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(self._target, data=content, headers=headers, method="POST")
            urllib.request.urlopen(request, timeout=self._hook_seconds).close()
            return
        subprocess.run(
            self._target,
            shell=True,
            input=content,
            env=os.environ | {"DPTQ_EVENT": str(event)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=self._hook_seconds,
            check=True,
        )

    @property
    def _is_url(self) -> bool:
        return self._target.startswith(WEB)

    def _name(self) -> str:
        """The target as it may be shown: secrets of webhooks are often in the path."""
        return urllib.parse.urlsplit(self._target).hostname or "URL" if self._is_url else repr(self._target)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, (subprocess.TimeoutExpired, TimeoutError)):
            return f"no answer within {self._hook_seconds:g} s"
        if isinstance(error, subprocess.CalledProcessError):
            return f"it ended with exit code {error.returncode}"
        # Where a URL itself is wrong, the error quotes it.
        is_quoting = isinstance(error, (ValueError, http.client.HTTPException))
        return type(error).__name__ if is_quoting else one_line(error)
