"""How a network that is given fares under dynamic quantization: a ladder of allocations, sites, verdict, cures."""
