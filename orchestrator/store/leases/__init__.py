"""Who works on what: the driver of a sweep, and the attempt at a trial."""
