"""Measurements of trained pairs; each module holds one analysis."""
