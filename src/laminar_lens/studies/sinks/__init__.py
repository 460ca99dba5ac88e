"""Sinks: long vectors, where attention rests, who writes them."""
