"""A small file that many may change, each only as long as it is what it has seen.

On an object store a write names the version that it replaces (`If-Match`), or that there is none (`If-None-Match`). So
of two that come at once one wins, and what arrives late changes nothing. A request that arrived and was sent again,
because its answer was lost, finds what it wrote itself: every content holds a token of its writer, and mostly a number.

On a file system whoever changes the file holds a lock.
"""

import json
import threading
from collections.abc import Mapping
from typing import Any

from orchestrator.store.folder import Folder
from orchestrator.store.places.bucket import Tag

RELEASED = "released"
"""Key of what is in the file once nobody has it: to remove an object unless it changed is not possible."""


class ContendedFile:
    """A JSON file; threads of one process may share the object."""

    def __init__(self, folder: Folder, name: str) -> None:
        """Points at a file; nothing is read yet."""
        # What an attempt knows of its folder, a lease is not part of.
        self._folder, self._name = Folder(folder.place, folder.path), name
        self._tag: Tag | None = None
        self._last: dict[str, Any] | None = None
        self._lock = threading.RLock()

    def read(self) -> dict[str, Any] | None:
        """Returns what is in the file, for `replace` to replace; None without a file, or if nobody has it.

        What is no JSON object reads as an empty one.
        """
        if (bucket := self._folder.bucket) is None:
            return read_content(self._folder, self._name)
        with self._lock, self._folder.doing("read", self._name):
            found = bucket.read_tagged(f"{self._folder.path}/{self._name}")
            self._tag = found.tag if found else None
            self._last = _content_of(found.content if found else None)
            return self._last

    def read_once(self) -> dict[str, Any] | None:
        """Returns what was read or written here last, on an object store; reads it the first time."""
        return self._last if self._tag else self.read()

    def replace(self, content: Mapping[str, Any]) -> bool:
        """Writes the file if it is what was read or written here last; tells whether it is there now."""
        if (bucket := self._folder.bucket) is None:
            self._folder.write_json(self._name, content)
            return True
        path, written = f"{self._folder.path}/{self._name}", (json.dumps(content, indent=2) + "\n").encode()
        with self._lock, self._folder.doing("write", self._name):
            if (tag := bucket.write_if(path, written, self._tag)) is None:
                found = bucket.read_tagged(path)
                if found is None or found.content != written:
                    return False
                tag = found.tag
            self._tag, self._last = tag, dict(content)
            return True

    def release(self, owner: Mapping[str, Any]) -> bool:
        """Leaves the file to whoever comes, if it is what was read or written here last; tells whether it was.

        On an object store it goes on to name its last `owner`.
        """
        if self._folder.bucket is None:
            self._folder.delete(self._name)
            return True
        return self.replace({**owner, RELEASED: True})


def read_content(folder: Folder, name: str) -> dict[str, Any] | None:
    """Returns what is in the file of whoever has something; see `ContendedFile.read`."""
    return _content_of(Folder(folder.place, folder.path).read_bytes(name))


def _content_of(content: bytes | None) -> dict[str, Any] | None:
    if content is None:
        return None
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return {} if not isinstance(value, dict) else None if value.get(RELEASED) else value
