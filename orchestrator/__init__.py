"""What to run next, where results go and what people read: Ray Tune, Optuna, MLflow and the command line."""
