"""Commands of a cluster: its files, its jobs."""
