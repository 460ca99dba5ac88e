"""Which texts are observations: those whose tokens are the same, or all but the same, are one.

A text is all but the same as an earlier one where, of T tokens, it differs from it in at most T // 16 places,
or holds all of the earlier one's but T // 16 at either end, at most as many places on. Texts of fewer than 16
tokens are one only where they are equal.

The first is found by its parts: of T // 16 + 1 parts of a text, each of every (T // 16 + 1)-th token, one at
least is untouched. So a text is compared only with those that share a part with it.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

PLACES = 16
"""One place in so many may differ."""
HALF = 0.5

Rows = Sequence[Sequence[int]]
_Found = dict[tuple[int, bytes], list[int]]


def repeats(
    rows: Rows,
    groups: Shaped[np.ndarray, " text"] | None = None,
    apart: Sequence[Hashable] | None = None,
) -> Bool[np.ndarray, " text"]:
    """True at texts that are the same, or all but the same, as an earlier one that is no repeat itself.

    Args:
        rows: token ids of each text, as it is measured; texts of different lengths are never the same.
        groups: one label a text, where texts of one group are one observation anyway: only those that repeat
            a text of another group are marked.
        apart: one label a text; texts with different labels are not compared.

    >>> repeats([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 4]]).tolist()
    [False, False, True]
    """
    labels = np.arange(len(rows)) if groups is None else np.unique(groups, return_inverse=True)[1]
    classes: dict[tuple[int, Hashable], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        classes[len(row), apart[index] if apart else None].append(index)
    marked = np.zeros(len(rows), dtype=bool)
    for members in classes.values():
        marked[members] = _of_one_length(np.array([rows[index] for index in members]), labels[members])
    return marked


def _of_one_length(
    rows: Int[np.ndarray, "text pos"], labels: Int[np.ndarray, " text"]
) -> Bool[np.ndarray, " text"]:
    spare = rows.shape[1] // PLACES
    inner = rows.shape[1] - 2 * spare
    marked = np.zeros(len(rows), dtype=bool)
    parts: _Found = defaultdict(list)
    inside: _Found = defaultdict(list)
    for index, row in enumerate(rows):
        keys = [(part, row[part :: spare + 1].tobytes()) for part in range(spare + 1)]
        near = sorted({other for key in keys for other in parts.get(key, ())})
        same = np.array(near, dtype=np.int64)[(rows[near] != row).sum(axis=1) <= spare].tolist()
        for start in range(2 * spare + 1):
            same += inside.get((0, row[start : start + inner].tobytes()), [])
        if any(labels[other] != labels[index] for other in same):
            marked[index] = True
            continue
        for key in keys:
            parts[key].append(index)
        inside[0, row[spare : spare + inner].tobytes()].append(index)
    return marked


def mostly(shares: Float[np.ndarray, " text"]) -> Bool[np.ndarray, " text"]:
    """True at texts of which more than half says nothing, but for the first: they are one observation.

    >>> mostly(np.array([0.1, 0.9, 0.2, 0.8])).tolist()
    [False, False, False, True]
    """
    many = shares > HALF
    many[np.flatnonzero(many)[:1]] = False
    return np.asarray(many)
