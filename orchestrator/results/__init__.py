"""What a sweep has found, as values."""
