"""What MLflow shows of a report: the description of a sweep, and a picture of every pair."""
