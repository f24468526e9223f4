"""What searches found, and what it cost."""
