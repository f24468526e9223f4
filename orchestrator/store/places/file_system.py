"""Files of this machine, or of a file system that it mounts."""

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow.fs as pafs

from orchestrator.store.places.place import TEMPORARY, Stamp


class FileSystem:
    """The file system of this machine."""

    prefix = ""

    def __init__(self) -> None:
        """There is one."""
        self._files = pafs.LocalFileSystem()

    def read(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if there is no such file."""
        try:
            with self._files.open_input_stream(path, compression=None) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Writes a file beside its place and renames it."""
        target = Path(path)
        self._files.create_dir(path.rpartition("/")[0])
        replace_file(target, content, target.with_name(temporary_name(target.name)))

    def exists(self, path: str) -> bool:
        """Tells whether a file exists; a folder is none."""
        return bool(self._files.get_file_info(path).type == pafs.FileType.File)

    def names(self, path: str) -> list[str]:
        """Returns the names of what is directly in a folder; none if it does not exist."""
        infos = self._files.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        return [info.base_name for info in infos]

    def stamps(self, path: str) -> Mapping[str, Stamp]:
        """Returns what is known of every file in a folder and below, by its path from there."""
        infos = self._files.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        files = (info for info in infos if info.type == pafs.FileType.File)
        return {info.path[len(path) + 1 :]: Stamp(info.size, info.mtime_ns) for info in files}

    def delete(self, path: str) -> None:
        """Removes a file; one that does not exist is no error."""
        with suppress(FileNotFoundError):
            self._files.delete_file(path)

    def delete_folder(self, path: str) -> None:
        """Removes a folder with all below it; one that does not exist is no error."""
        if self._files.get_file_info(path).type == pafs.FileType.Directory:
            self._files.delete_dir(path)


def temporary_name(name: str) -> str:
    """Returns a name for a file while it is written."""
    return f"{TEMPORARY}{uuid.uuid4().hex}-{name}"


def replace_file(path: Path, content: bytes, temporary: Path) -> None:
    """Writes a file of this machine, which then takes the place of another one in one step."""
    try:
        _write_synced(temporary, content)
        temporary.replace(path)
    except OSError:
        # Half a file takes room on a full disk.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
