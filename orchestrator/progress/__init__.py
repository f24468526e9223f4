"""How far a sweep is: live in the terminal, and as `status` shows it."""
