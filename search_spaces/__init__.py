"""What could be run: grids, cells, budgets, recipes and the search space, in plain Python and pydantic."""
