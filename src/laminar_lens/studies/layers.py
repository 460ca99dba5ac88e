"""How layers are said."""

from collections.abc import Iterable

from laminar_lens.models.selection import ranges


def named_layers(layers: Iterable[int]) -> str:
    """`layers 2–4 and 7`; every layer that is meant is named.

    >>> named_layers([2, 3, 4, 7]), named_layers([5])
    ('layers 2–4 and 7', 'layer 5')
    """
    rows = list(layers)
    *most, last = ranges(rows) or [""]
    listed = " and ".join(filter(None, [", ".join(most), last]))
    return f"layer{'s' if len(rows) > 1 else ''} {listed}" if rows else "no layer"
