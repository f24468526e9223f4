"""A folder as a listing found it: what is not there is not asked for, and no small file is read twice."""

from collections.abc import Mapping

from orchestrator.store.folder import ATTEMPTS, EPOCHS, ERROR, LOG, PRUNED, RECIPE, RESULT, Folder
from orchestrator.store.places.place import TEMPORARY, Stamp

KEPT = frozenset({RECIPE, RESULT, EPOCHS, PRUNED, ERROR, LOG, ATTEMPTS})
"""Files that are kept once they were read. Others are large, and not needed twice."""


class ListedFolder(Folder):
    """Reads a folder of which a listing is known; it never changes, whatever becomes of the folder."""

    def __init__(self, folder: Folder, stamps: Mapping[str, Stamp], known: Mapping[str, bytes] | None = None) -> None:
        """Takes the stamps as `Folder.stamps` returned them, and files of which the content is known; reads nothing."""
        super().__init__(folder.place, folder.path)
        self._stamps = stamps
        self._kept: dict[str, bytes | None] = dict(known or {})

    def exists(self, path: str) -> bool:
        """Tells whether the listing has a file."""
        return path in self._stamps

    def names(self) -> list[str]:
        """Returns the names of the folders and files directly in this folder, sorted."""
        names = {path.partition("/")[0] for path in self._stamps}
        return sorted(name for name in names if not name.startswith(TEMPORARY))

    def stamps(self) -> dict[str, Stamp]:
        """Returns what is known of every file."""
        return dict(self._stamps)

    def kept(self) -> dict[str, bytes]:
        """Returns the files that were read, or known, and are kept."""
        kept = {path: content for path, content in self._kept.items() if path in KEPT and path in self._stamps}
        return {path: content for path, content in kept.items() if content is not None}

    def read_bytes(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if the listing has no such file, or it is gone."""
        if path not in self._stamps:
            return None
        if path in self._kept:
            return self._kept[path]
        content = super().read_bytes(path)
        if path in KEPT:
            self._kept[path] = content
        return content


def listed(folder: Folder) -> ListedFolder:
    """Returns a folder as it is now."""
    return ListedFolder(folder, folder.stamps())
