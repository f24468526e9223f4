"""The stages of a plan by name, and how networks that are given are assessed."""
