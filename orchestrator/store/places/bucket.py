"""A bucket of an object store, by obstore: the only module that imports it.

obstore and not pyarrow.fs, because it writes conditionally (`If-None-Match`, `If-Match`; Google's generations), reads
an object with one request in place of one per 256 KiB and one for its size, and deletes without leaving empty objects
that stand for folders.
"""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore

from orchestrator.store.places.patience import AwayError, Patience
from orchestrator.store.places.place import Stamp

if TYPE_CHECKING:  # obstore has these in its stubs only
    from obstore import ObjectMeta, PutMode, PutResult, UpdateVersion

T = TypeVar("T")


class Missing(Enum):
    """In place of an answer that may be None."""

    MISSING = auto()


PART_BYTES = 8 * 2**20
"""Larger objects are read in parts of this size."""
NUM_PARTS = 8
"""Parts that are read at a time."""
LARGE_BYTES = 4 * 2**20
"""Larger objects are given the time that they take on a slow line."""
_STATUS = re.compile(r"non-2xx status code: (\d+)")
_REASON = re.compile(r'"(dns error)"|message: "([^"]+)"|kind: (Timeout)|<Message>([^<]+)</Message>')
_MAY_PASS = {408, 425, 429}
"""Of the statuses below 500, those that say to come again."""


class Tag(NamedTuple):
    """Names a version of an object; S3 and Azure compare the first part, Google Cloud Storage the second."""

    e_tag: str | None
    version: str | None

    def as_condition(self) -> "UpdateVersion":
        """Returns what makes a write replace this version only."""
        named: UpdateVersion = {}
        if self.e_tag is not None:
            named["e_tag"] = self.e_tag
        if self.version is not None:
            named["version"] = self.version
        return named


class Tagged(NamedTuple):
    """The content of an object, and the tag of this version."""

    content: bytes
    tag: Tag


class Bucket:
    """A bucket; paths begin with its name, as people write them after `s3://`."""

    def __init__(self, prefix: str, name: str, store: ObjectStore, large: ObjectStore | None = None) -> None:
        """Sends no request yet.

        Args:
            prefix: What people write before a path, such as `s3://`.
            name: Of the bucket.
            store: Reaches it.
            large: The same with time for a large object.
        """
        self.prefix, self.name = prefix, name
        self.patience = Patience()
        """With a bucket that does not answer; a launch has more of it than a command that only looks."""
        self._store, self._large = store, large or store

    def read(self, path: str) -> bytes | None:
        """Returns the content of an object, or None if there is none; large ones in parts, many at a time."""
        found = self.read_tagged(path)
        return found.content if found else None

    def read_tagged(self, path: str) -> Tagged | None:
        """Returns the content of an object and the tag of its version, or None if there is no such object."""
        return self._ask(lambda: self._read(self._key(path)), otherwise=None)

    def _read(self, key: str) -> Tagged:
        while True:
            found = obstore.get(self._large, key)
            size, tag = found.meta["size"], _tag(found.meta)
            if size <= 2 * PART_BYTES:
                return Tagged(bytes(found.bytes()), tag)
            del found  # its answer is not read: the parts come in answers of their own

            def part(start: int, size: int = size, tag: Tag = tag) -> bytes:
                end = min(start + PART_BYTES, size)
                return bytes(
                    obstore.get(self._large, key, options={"range": (start, end), "if_match": tag.e_tag}).bytes()
                )

            with ThreadPoolExecutor(NUM_PARTS, thread_name_prefix="parts") as pool:
                try:
                    return Tagged(b"".join(pool.map(part, range(0, size, PART_BYTES))), tag)
                except PreconditionError:
                    continue  # another version took its place meanwhile

    def write(self, path: str, content: bytes) -> None:
        """Writes an object, which appears whole; a large one in parts."""
        store = self._for(content)
        self._ask(lambda: obstore.put(store, self._key(path), content, chunk_size=PART_BYTES))

    def write_if(self, path: str, content: bytes, tag: Tag | None) -> Tag | None:
        """Writes an object if it has a tag, or, for None, if there is none; returns its new tag, None if it was not so.

        None may also mean that the request arrived, its answer was lost and it was sent again: whoever writes what
        nobody else would write reads it, and sees.
        """
        mode: PutMode = tag.as_condition() if tag else "create"
        store = self._for(content)
        try:
            written = self._ask(lambda: obstore.put(store, self._key(path), content, mode=mode))
        except (AlreadyExistsError, PreconditionError):
            return None
        return _tag(written)

    def tag(self, path: str) -> Tag | None:
        """Returns the tag of an object's version, or None if there is no such object."""
        return self._ask(lambda: _tag(obstore.head(self._store, self._key(path))), otherwise=None)

    def exists(self, path: str) -> bool:
        """Tells whether there is an object."""
        return self.tag(path) is not None

    def names(self, path: str) -> list[str]:
        """Returns the names of what is directly below a path; none if nothing is."""
        key = self._key(path)
        found = self._ask(lambda: obstore.list_with_delimiter(self._store, prefix=key or None))
        objects = [meta["path"] for meta in found["objects"] if not _stands_for_a_folder(meta)]
        return sorted({each.rpartition("/")[2] for each in (*found["common_prefixes"], *objects)})

    def stamps(self, path: str) -> Mapping[str, Stamp]:
        """Returns what is known of every object below a path, by its path from there."""
        key = self._key(path)
        listed = self._ask(lambda: [meta for some in obstore.list(self._store, prefix=key or None) for meta in some])
        start = len(key) + 1 if key else 0
        return {
            meta["path"][start:]: Stamp(meta["size"], int(1e9 * meta["last_modified"].timestamp()), meta["e_tag"] or "")
            for meta in listed
            if not _stands_for_a_folder(meta)
        }

    def delete(self, *paths: str) -> None:
        """Removes objects, with one request; one that does not exist is no error."""
        self._ask(lambda: obstore.delete(self._store, [self._key(path) for path in paths]), otherwise=None)

    def delete_folder(self, path: str) -> None:
        """Removes all objects below a path."""
        key = self._key(path)

        def remove() -> None:
            if found := [meta["path"] for some in obstore.list(self._store, prefix=key) for meta in some]:
                obstore.delete(self._store, found)

        self._ask(remove)

    def _key(self, path: str) -> str:
        return path[len(self.name) + 1 :]

    def _for(self, content: bytes) -> ObjectStore:
        return self._large if len(content) > LARGE_BYTES else self._store

    def _ask(self, call: Callable[[], T], *, otherwise: T | Missing = Missing.MISSING) -> T:
        """Makes a call, again and again while the bucket is away; what is not there is `otherwise`, if given."""

        def translated() -> T:
            try:
                return call()
            except FileNotFoundError as error:
                if isinstance(otherwise, Missing) or "NoSuchBucket" in str(error):
                    raise OSError(_reason_of(error)) from None
                return otherwise
            except (AlreadyExistsError, PreconditionError):
                raise
            except BaseError as error:
                status = _STATUS.search(str(error))
                is_away = status is None or int(status[1]) >= 500 or int(status[1]) in _MAY_PASS
                raise (AwayError if is_away else OSError)(_reason_of(error)) from None

        return self.patience.ask(translated, f"{self.prefix}{self.name}")


def _tag(meta: "ObjectMeta | PutResult") -> Tag:
    return Tag(meta["e_tag"], meta["version"])


def _stands_for_a_folder(meta: "ObjectMeta") -> bool:
    """Tells whether an object is one of those that other programs, and earlier versions, leave in place of a folder.

    Their names end with a slash, which obstore does not show.
    """
    name = meta["path"].rpartition("/")[2]
    return meta["size"] == 0 and "." not in name and name != "stop"


def _reason_of(error: Exception) -> str:
    """Returns why a call failed, in a few words: obstore prints its whole chain of errors."""
    text = str(error)
    found = [next(filter(None, groups)) for groups in _REASON.findall(text)]
    reason = found[-1] if found else text.partition("\n")[0]
    request = text.partition(" in ")[0].rpartition("Error performing ")[2].partition("?")[0]
    return f"{'no answer in time' if reason == 'Timeout' else reason}{f' ({request})' if request else ''}"
