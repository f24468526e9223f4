"""One launch, in the driver."""
