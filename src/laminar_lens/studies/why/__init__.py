"""Why first pairs stand apart."""
