"""What happens to the files of a storage, in order, and processes that die between two operations; no tests in here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.folder import Folder
from orchestrator.store.store import Store


class KilledError(BaseException):
    """The end of a process that is killed: no code of ours catches it."""


@contextmanager
def recording(store: Store, *, dies_after: int | None = None) -> Iterator[list[str]]:
    """Notes what is written to and deleted from a storage for the duration of a `with` block.

    Args:
        store: The storage.
        dies_after: The number of operations that the process lives for; whatever it tries then raises `KilledError`,
            also what it does to clean up. None for ever.

    Yields:
        The operations so far, such as `write pair/0123/result.json` and `delete pair/0123/resume`. Deleting what is not
        there is none.
    """
    done: list[str] = []
    write, delete, delete_folder = Folder.write_bytes, Folder.delete, Folder.delete_folder

    def note(verb: str, folder: Folder, path: str) -> None:
        if dies_after is not None and len(done) >= dies_after:
            raise KilledError
        done.append(f"{verb} {folder.folder(path).path.removeprefix(store.root.path + '/')}")

    def noted_write(folder: Folder, path: str, content: bytes) -> None:
        note("write", folder, path)
        write(folder, path, content)

    def noted_delete(folder: Folder, path: str, original: Callable[[Folder, str], None]) -> None:
        if folder.exists(path) or folder.folder(path).sizes():
            note("delete", folder, path)
            original(folder, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "write_bytes", noted_write)
        patch.setattr(Folder, "delete", lambda folder, path: noted_delete(folder, path, delete))
        patch.setattr(Folder, "delete_folder", lambda folder, path: noted_delete(folder, path, delete_folder))
        yield done


def operations(store: Store, act: Callable[[], Any]) -> list[str]:
    """Returns what an action does, in order, with paths shortened to the names in a trial's or a sweep's folder."""
    with recording(store) as done:
        act()
    return [f"{each.partition(' ')[0]} {each.split('/', 2)[2]}" for each in done]


def deaths(
    root: Path, prepare: Callable[[Store], Any], act: Callable[[Store], Any]
) -> Iterator[tuple[Store, list[str]]]:
    """Kills an action before each of its operations, on a storage of its own each time; the last one lives.

    Args:
        root: Where to put the storages.
        prepare: What happened before on each of them.
        act: What is killed.

    Yields:
        The storage as it is left, and the operations that were done.
    """
    for number in count():
        store = Store(str(root / f"killed-after-{number}"))
        prepare(store)
        lives = True
        with recording(store, dies_after=number) as done:
            try:
                act(store)
            except KilledError:
                lives = False
        assert lives or len(done) == number
        yield store, done
        if lives:
            assert done, "an action that does nothing has no order"
            return
