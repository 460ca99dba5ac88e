"""Nulls of a dimension study: what dimensions of like size, and of random directions, make of a cosine.

A large dimension beats most dimensions that are drawn at random, whatever it does. So the drawn ones are
matched in size too. The size of dimension k is what it would add to the cosine if its signs always agreed:
the mean of |u_k||v_k|/(‖u‖‖v‖) over the same pairs, hence a size in just the vectors that are compared.

For each of the chosen dimensions one is drawn among those that are `1 / LIKE` … `LIKE` times as large, itself
among them, and what it adds is scaled to the chosen one's size; three different ones are a draw. Sizes are
taken from the texts that chose, contributions from those that are measured. If dimensions of like size are
interchangeable, the chosen exceed 95% of the draws in at most one run of twenty.

Where fewer than `FEWEST` others are of like size, there is no such null, and none is claimed. Nor are the
dimensions of random weights interchangeable: each has a mean of its own, and the chosen are those with the
largest. So no verdict rests on this null.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laminar_lens.stats.streams import stream
from laminar_lens.studies.dimensions.measure import Contributions

LIKE = 2.0
FEWEST = 24
"""A single dimension that beats all others of its size is drawn itself in 1 of 25 draws: p = 0.04."""
DRAWS = 999
LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class LikeSize:
    """What random dimensions of like size make; axes [geometry pairs layer], NaN where there is no such null.

    Attributes:
        low, high: 95% of the draws lie between, shares of the mean cosine.
        p: share of draws that make at least as much as the chosen, the chosen counted among them.
        others: how many others are of like size, for the chosen dimension that has fewest.
        rare: that dimension.
    """

    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    others: np.ndarray
    rare: np.ndarray


def like_size(
    before: Contributions, after: Contributions, order: np.ndarray, few: int, seed: int
) -> LikeSize:
    """The null of like size of the first `few` of each order [geometry pairs layer d_model]."""
    shape = before.cosine.shape
    low, high, p = np.full((3, *shape), np.nan)
    others, rare = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    rng = stream(seed, "dimensions of like size")
    for at in np.ndindex(shape):
        chosen, size, part = order[at][:few], before.size[at], after.mean[at]
        pools = _pools(size, chosen)
        found = [len(pool) - 1 for pool in pools]
        others[at], rare[at] = min(found), chosen[int(np.argmin(found))]
        if others[at] < FEWEST:
            continue
        drawn = _distinct(pools, rng)
        makes = (part[drawn] * (size[chosen] / size[drawn])).sum(1)
        towards = np.sign(before.cosine[at])
        p[at] = (1 + (towards * makes >= towards * part[chosen].sum()).sum()) / (1 + DRAWS)
        if after.cosine[at] != 0:
            low[at], high[at] = np.quantile(makes / after.cosine[at], [0.025, 0.975])
    return LikeSize(low, high, p, others, rare)


def random_reach(width: int, few: int) -> float:
    """What the `few` dimensions with the largest contributions add to the cosine of two random directions of
    `width` dimensions, in its direction, in 99 of 100.

    The largest of many parts are large by choice, and of a cosine near 0 they make any share.
    """
    u, v = np.random.default_rng([width, few]).standard_normal((2, DRAWS, width))
    part = u * v / (np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1))[:, None]
    first = np.take_along_axis(part, np.argsort(-np.abs(part), axis=1)[:, :few], 1)
    return float(np.quantile(np.sign(part.sum(1)) * first.sum(1), 0.99))


def _pools(size: np.ndarray, chosen: np.ndarray) -> list[np.ndarray]:
    """For each of the chosen, itself and the dimensions of like size that are not chosen."""
    rest = np.setdiff1d(np.flatnonzero(size > 0), chosen)
    near = [(size[rest] >= size[one] / LIKE) & (size[rest] <= size[one] * LIKE) for one in chosen]
    return [np.append(rest[like], one) for like, one in zip(near, chosen, strict=True)]


def _distinct(pools: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """One of each pool, all different, [draw pool]."""
    drawn = np.empty((DRAWS, len(pools)), np.int64)
    todo = np.ones(DRAWS, dtype=bool)
    while todo.any():
        drawn[todo] = np.stack([rng.choice(pool, int(todo.sum())) for pool in pools], axis=1)
        todo = (np.diff(np.sort(drawn, axis=1), axis=1) == 0).any(axis=1)
    return drawn
