"""Statistics over independent texts; knows nothing of models."""
