"""Laminar Lens: the angular geometry of the residual stream."""
