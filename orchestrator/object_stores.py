"""What is different about S3, Google Cloud Storage and their like, as pyarrow.fs speaks to them.

They have no folders, only names with slashes in them: none is made before a write. pyarrow leaves an empty object in
place of a folder whose last file it deletes; those count for nothing, since only files are ever looked for.
"""

from concurrent.futures import ThreadPoolExecutor

import pyarrow.fs as pafs

PREFIXES = {"s3": "s3://", "gcs": "gs://"}
"""How a place is written, by pyarrow's name of its filesystem."""
CURE = (
    "Check the bucket, the network, and the credentials, which every machine finds in its own environment "
    "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, or the role of the machine)."
)


def upload(filesystem: pafs.FileSystem, path: str, content: bytes) -> None:
    """Writes an object, which appears whole when its stream is closed.

    In a thread of its own, because signals interrupt the main thread only: a stream that Ctrl-C leaves is closed, too,
    and an empty object would appear in place of the old one.
    """

    def write() -> None:
        stream = filesystem.open_output_stream(path)
        stream.write(content)
        stream.close()

    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(write).result()
