"""novella: the small language model that ships with the package. See README.md here, its model card."""
