"""A cluster seen from outside: its launcher, its job server, its data."""
