"""Networks on their way to a runtime: as files, and compared with what the simulation says of them."""
