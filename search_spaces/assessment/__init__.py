"""Assessments of networks that are given: what is measured, and the rules that decide."""
