"""One Optuna study per searched cell."""
