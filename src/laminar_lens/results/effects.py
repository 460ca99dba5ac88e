"""Goes when `studies.why` reads its own table."""

from laminar_lens.results.tables import layer_rows as effect_rows

__all__ = ["effect_rows"]
