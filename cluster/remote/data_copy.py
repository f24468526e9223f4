"""Datasets to a bucket and from there to every machine of a cluster, since trials look for them on their own disk."""

import pyarrow as pa
import pyarrow.fs as pafs

from search_spaces.errors import UnavailableError, one_line
from search_spaces.uris import absolute_uri, with_defaults


def copy_data(source: str, target: str) -> int:
    """Copies all files below a folder, over those that are there.

    Args:
        source: A path, or a URI that pyarrow.fs understands (`s3://...`, `gs://...`).
        target: The same; made if it is not there.

    Returns:
        How many files were copied; 0 if the source is not there, or empty.

    Raises:
        UnavailableError: One of the two cannot be reached, read or written.
        ConfigError: A URI holds credentials.
    """
    try:
        source_filesystem, source_root = pafs.FileSystem.from_uri(with_defaults(absolute_uri(source, what="data")))
        target_filesystem, target_root = pafs.FileSystem.from_uri(with_defaults(absolute_uri(target, what="data")))
        below = pafs.FileSelector(source_root, recursive=True, allow_not_found=True)
        num_files = sum(info.is_file for info in source_filesystem.get_file_info(below))
        if num_files:
            target_filesystem.create_dir(target_root)
            pafs.copy_files(
                source_root, target_root, source_filesystem=source_filesystem, destination_filesystem=target_filesystem
            )
    except (OSError, pa.ArrowException) as error:
        raise UnavailableError(f"data cannot be copied from {source} to {target}: {one_line(error)}") from error
    return num_files
