"""Commands of one sweep, from its plan to its report."""
