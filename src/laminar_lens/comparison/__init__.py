"""One study on several models, side by side."""
