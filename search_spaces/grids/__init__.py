"""Grids: files, templates and overrides, built into what could be run."""
