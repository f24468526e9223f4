"""A network in MLflow's model registry."""
