"""Where the files of a storage lie: a file system, or the bucket of an object store."""
