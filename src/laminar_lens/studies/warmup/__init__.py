"""How many first tokens to leave out."""
