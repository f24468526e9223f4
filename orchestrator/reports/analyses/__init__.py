"""One module per analysis: its table, its section and its figure."""
