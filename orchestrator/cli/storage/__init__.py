"""Commands of a storage: its sweeps, its rubbish, its pages."""
