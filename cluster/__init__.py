"""Where it runs: Ray sessions and the resources of a trial."""
