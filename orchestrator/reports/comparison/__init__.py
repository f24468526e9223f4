"""The page of `compare`."""
