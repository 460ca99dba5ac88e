"""How far tokens turn from layer to layer."""
