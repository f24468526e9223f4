"""Allocations that no policy makes: uniform bits, the best and worst for all images, the worst for every image."""
