"""Moved to `words`; goes when the studies import it from there."""

from laminar_lens.words import decimal, interval, percent, signed

__all__ = ["decimal", "interval", "percent", "signed"]
