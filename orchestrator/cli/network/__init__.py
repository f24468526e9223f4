"""Commands of one network: measured, exported, run in a real runtime."""
