"""The page of `compare-search`."""
