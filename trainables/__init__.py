"""What one trial computes: pure stage functions over torch and timm; Ray wraps them in orchestrator.workers.trial."""
