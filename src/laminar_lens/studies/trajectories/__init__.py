"""How far apart the trajectories of several words are along the layers."""
