"""What a folder of the store asks of the place where its files lie."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

TEMPORARY = ".tmp-"
"""How the name of a file begins while it is written; one that stays was left by a process that died."""


class Stamp(NamedTuple):
    """What a listing says of a file; another one means that the file was written again."""

    size: int
    changed_ns: int
    tag: str = ""
    """Of the version of an object, as its store calls it; file systems have none."""


class Place(Protocol):
    """Files by their paths, with forward slashes. Whatever goes wrong is an `OSError`."""

    @property
    def prefix(self) -> str:
        """What people write before a path: `s3://`, or nothing."""

    def read(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if there is no such file."""

    def write(self, path: str, content: bytes) -> None:
        """Writes a file so that readers see the old content or all of the new, whatever dies in between."""

    def exists(self, path: str) -> bool:
        """Tells whether a file exists; a folder is none."""

    def names(self, path: str) -> list[str]:
        """Returns the names of what is directly in a folder, in any order; none if it does not exist."""

    def stamps(self, path: str) -> Mapping[str, Stamp]:
        """Returns what is known of every file in a folder and below, by its path from there."""

    def delete(self, path: str) -> None:
        """Removes a file; one that does not exist is no error."""

    def delete_folder(self, path: str) -> None:
        """Removes a folder with all below it; one that does not exist is no error."""
