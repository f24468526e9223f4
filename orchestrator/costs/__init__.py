"""What a plan costs: step times, a schedule, an estimate."""
