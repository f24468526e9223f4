"""The training stages, in pipeline order: teacher, distill, pair."""
