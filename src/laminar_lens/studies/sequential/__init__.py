"""The target token against its baselines."""
