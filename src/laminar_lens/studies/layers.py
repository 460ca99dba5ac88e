"""How layers are said."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from laminar_lens.models.selection import ranges
from laminar_lens.words import joined


def named_layers(layers: Iterable[int], where: ArrayLike | None = None, *, kind: str = "layer") -> str:
    """`layers 2–4 and 7`; every layer that is meant is named.

    >>> named_layers([2, 3, 4, 7]), named_layers([4, 5], np.array([False, True]))
    ('layers 2–4 and 7', 'layer 5')

    Args:
        layers: their numbers.
        where: True at those that are meant; all by default.
        kind: what they are called, such as "block".
    """
    rows = list(layers) if where is None else np.asarray(layers)[np.asarray(where)].tolist()
    return f"{kind}{'s' if len(rows) > 1 else ''} {joined(ranges(rows))}" if rows else f"no {kind}"
