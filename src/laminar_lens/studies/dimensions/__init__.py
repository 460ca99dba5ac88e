"""Which dimensions make a cosine."""
