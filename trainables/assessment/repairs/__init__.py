"""Repairs of a network that fails: what they are, what they are worth, and what other tools make of them."""
