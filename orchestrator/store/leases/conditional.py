"""Attempts on an object store: a write names the version that it replaces, seen when the attempt held the lease.

An attempt looks which files there are, and then whether it holds the lease. Until it has written a file itself, it
replaces the version that it found so, or creates the file. Whoever takes the trial over writes other versions. So a
write that a former attempt sent, and that arrives after the new one's, finds another version and changes nothing; one
that arrives before makes the new attempt look again, and be replaced.

The worker's beat is a number in the lease itself, written on the same condition: it shows life and asks in one request.

What is left: a file that arrives late, and that the new attempt did not write yet, stands there until it does. So may a
result.json, which another sweep may see meanwhile. Deletes are not conditional: the lease was seen shortly before each.
"""

import time

from orchestrator.store.folder import LEASE, Folder
from orchestrator.store.leases.contended import ContendedFile
from orchestrator.store.leases.fenced import FencedFolder, LostLeaseError
from orchestrator.store.places.bucket import Bucket, Tag
from orchestrator.store.places.listed import ListedFolder
from orchestrator.store.places.place import Stamp

CHECK_SECONDS = 10.0
"""Time for which a lease counts as held that was seen so; a worker sees it at every beat, unless it was frozen."""
SMALL_BYTES = 2**20
"""Files up to this size are kept as they were written or read last: nobody else changes them."""


class ConditionalFolder(FencedFolder):
    """A trial's folder in a bucket."""

    def __init__(self, folder: Folder, attempt: str) -> None:
        """Asks nothing yet."""
        super().__init__(folder, attempt)
        self._lease = ContendedFile(self, LEASE)
        self._seen_at = float("-inf")
        self.hand_over()

    def hand_over(self) -> None:
        """Forgets which files there are, and their versions."""
        self._found: dict[str, Stamp] | None = None
        self._tags: dict[str, Tag] = {}
        self._kept: dict[str, bytes] = {}

    def stamps(self) -> dict[str, Stamp]:
        """Lists the folder, and notes what there is."""
        found = super().stamps()
        if self._found is None:
            self.check()
            self._found = dict(found)
        return found

    def exists(self, path: str) -> bool:
        """Tells whether a file exists, which nobody else changes."""
        return path in self._files()

    def read_bytes(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if there is no such file."""
        if path not in self._files():
            return None
        if path not in self._kept:
            content = super().read_bytes(path)
            if content is None or len(content) > SMALL_BYTES:
                return content
            self._kept[path] = content
        return self._kept[path]

    def write_bytes(self, path: str, content: bytes) -> None:
        """Writes a file, if the attempt holds the lease."""
        there, full = self._bucket, f"{self.path}/{path}"
        self._files()  # sees the lease, if nothing is known yet
        self._check_now_and_then()
        if path in self._files() and path not in self._tags:
            self._look(path)
        while True:
            with self.doing("write", path):
                written = there.write_if(full, content, self._tags.get(path))
            if written:
                break
            # Another version is there: from a request of this attempt that was repeated, or from another attempt.
            self._look(path)
        self._tags[path] = written
        self._files()[path] = Stamp(len(content), time.time_ns(), written.e_tag or "")
        if len(content) <= SMALL_BYTES:
            self._kept[path] = content
        else:
            self._kept.pop(path, None)

    def delete(self, path: str) -> None:
        """Removes a file, if the attempt holds the lease."""
        if path in self._files():
            self._check_now_and_then()
            super().delete(path)
            self._forget(path)

    def delete_folder(self, path: str) -> None:
        """Removes a folder with all below it, if the attempt holds the lease."""
        if below := [each for each in self._files() if each.startswith(f"{path}/")]:
            self._check_now_and_then()
            with self.doing("delete", path):
                self._bucket.delete(*(f"{self.path}/{each}" for each in below))
            for each in below:
                self._forget(each)

    def check(self) -> None:
        """Reads the lease."""
        self._seen((self._lease.read() or {}).get("attempt") == self.attempt)

    def beat(self, number: int) -> None:
        """Writes a number into the lease, unless it is another attempt's."""
        lease = self._lease.read_once()
        while (lease or {}).get("attempt") == self.attempt:
            if self._lease.replace({**(lease or {}), "beat": number}):
                break
            lease = self._lease.read()
        self._seen((lease or {}).get("attempt") == self.attempt)

    def as_known(self) -> ListedFolder:
        """Returns the folder with what was listed once, and written since."""
        return ListedFolder(Folder(self.place, self.path), dict(self._files()), self._kept)

    def _check_now_and_then(self) -> None:
        if time.monotonic() - self._seen_at > CHECK_SECONDS:
            self.check()

    def _seen(self, is_held: bool) -> None:
        """Notes whether the lease is held, and when that was seen.

        Raises:
            LostLeaseError: It is not.
        """
        self._seen_at = time.monotonic() if is_held else float("-inf")
        if not is_held:
            raise LostLeaseError(self.root)

    def _files(self) -> dict[str, Stamp]:
        """Returns which files there are, as found when the attempt held the lease."""
        if self._found is None:
            self.stamps()
        assert self._found is not None, "was just listed"
        return self._found

    def _look(self, path: str) -> None:
        """Finds the version of a file that the next write replaces: as it was while the attempt held the lease."""
        with self.doing("read", path):
            tag = self._bucket.tag(f"{self.path}/{path}")
        self.check()
        self._forget(path)
        if tag:
            self._tags[path] = tag
            self._files()[path] = Stamp(0, 0, tag.e_tag or "")

    def _forget(self, path: str) -> None:
        self._files().pop(path, None)
        self._tags.pop(path, None)
        self._kept.pop(path, None)

    @property
    def _bucket(self) -> Bucket:
        assert self.bucket is not None, f"{self.root} is in no bucket"
        return self.bucket
