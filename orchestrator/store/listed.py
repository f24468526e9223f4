"""A folder as a listing found it: what is not there is not asked for, and no small file is read twice."""

import codecs
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from orchestrator.store.folder import ATTEMPTS, EPOCHS, ERROR, LOG, PRUNED, RECIPE, RESULT, TEMPORARY, Folder, Stamp

KEPT = frozenset({RECIPE, RESULT, EPOCHS, PRUNED, ERROR, LOG, ATTEMPTS})
"""Files that are kept once they were read. Others are large, and not needed twice."""


class ListedFolder(Folder):
    """Reads a folder of which a listing is known; it never changes, whatever becomes of the folder."""

    def __init__(self, folder: Folder, stamps: Mapping[str, Stamp]) -> None:
        """Takes the stamps as `Folder.stamps` returned them, and reads nothing yet."""
        super().__init__(folder.filesystem, folder.path)
        self._stamps = stamps
        self._kept: dict[str, bytes | None] = {}

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

    def read_bytes(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if the listing has no such file, or it is gone."""
        if path not in self._stamps:
            return None
        if path in self._kept:
            return self._kept[path]
        content = self._read(path)
        if path in KEPT:
            self._kept[path] = content
        return content

    def _read(self, path: str) -> bytes | None:
        size = self._stamps[path].size
        # The files of a trial that is done change no more, so the size is still the listing's.
        if path in KEPT and RESULT in self._stamps and 0 < size <= LARGEST and self.filesystem.type_name == "s3":
            try:
                return read_object(self.filesystem, f"{self.path}/{path}", size)
            except OSError:
                pass  # whatever is wrong, the usual way finds the words for it
        return super().read_bytes(path)


LARGEST = 1_000_000
"""Bytes up to which an object is read by `read_object`, which takes five times as much memory."""
_CODEC = "dptq_bytes"
# Beyond all characters that mean anything in CSV.
_CHARACTERS = "".join(chr(0x100 + byte) for byte in range(256))
_BYTES = codecs.charmap_build(_CHARACTERS)


class _Decoder(codecs.IncrementalDecoder):
    def decode(self, data: bytes, final: bool = False) -> str:  # type: ignore[override]  # bytes are all it gets
        return codecs.charmap_decode(data, "strict", _CHARACTERS)[0]


_INFO = codecs.CodecInfo(codecs.charmap_encode, codecs.charmap_decode, incrementaldecoder=_Decoder, name=_CODEC)
codecs.register(lambda name: _INFO if name == _CODEC else None)


def read_object(filesystem: pafs.FileSystem, path: str, size: int) -> bytes:
    """Reads an S3 object whose size is known, and not zero, with one request in place of two.

    pyarrow asks for the size of whatever it opens, and can be told it in datasets only
    (`make_fragment(file_size=...)`, apache/arrow#37857). So the object is read as a table in CSV of one cell, by a
    codec that turns its bytes into characters without a meaning in CSV. If the object has another size by now, the
    bytes are cut or filled with zeros: only for files that change no more.

    Raises:
        OSError: It cannot be read.
    """
    csv = pads.CsvFileFormat(
        parse_options=pacsv.ParseOptions(quote_char=False),
        read_options=pacsv.ReadOptions(column_names=["content"], encoding=_CODEC, block_size=2 * size + 2),
    )
    fragment = csv.make_fragment(path, filesystem, file_size=size)
    table = fragment.to_table(schema=pa.schema([("content", pa.string())]), use_threads=False)
    return codecs.charmap_encode(table["content"][0].as_py(), "strict", _BYTES)[0]
