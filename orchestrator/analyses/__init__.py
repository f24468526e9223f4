"""Analyses of a sweep: which there are to run, where they run, and their tables."""
