"""A cluster seen from inside: sessions, capacity, nodes, resources."""
