"""How the trajectories of several words in the same prompts part along the layers."""
