"""Numbers that hold where nothing else was asked for. Imports nothing, so that help can show them at once."""

STORAGE = "dptq-sweeps"
"""Folder of all trials and sweeps."""
STALLED_MINUTES = 30.0
"""Without any finished epoch, after which a launch counts as stalled."""
START_SECONDS = 300.0
"""From asking for a machine until Ray runs on it; assumed, not measured."""
