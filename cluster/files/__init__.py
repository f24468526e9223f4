"""Cluster files: which machines they ask for, how they are written, what they cost."""
