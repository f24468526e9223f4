"""What runs inside a Ray worker."""
