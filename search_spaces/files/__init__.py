"""Files that are read and folders that are for a while."""
