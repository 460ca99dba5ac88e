"""How far tokens travel along the layers, and whether it tells how well the next token is predicted."""
