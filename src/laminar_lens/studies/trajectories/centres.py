"""Distances between the means of two groups, without what chance adds to them.

The squared distance of two means is too large by the variance of each: chance alone sets them apart. The mean
over products of different prompts is not:

    D² = mean of ⟨x_i − y_j, x_k − y_l⟩ over i ≠ k and j ≠ l    groups with prompts of their own
    D² = mean of ⟨x_i − y_i, x_k − y_k⟩ over i ≠ k              the same prompts with two words

A prompt's part is the mean of the products that it is in; their mean over a group is D². D², and what is
computed from it, has a jackknife pseudo-value in each prompt: their mean is the estimate, and their scatter
within groups gives its standard error, so that an interval of a mean serves.

Sources: Hoeffding (1948) (U-statistics); Efron & Tibshirani, An Introduction to the Bootstrap (1993), 11.5
(pseudo-values).
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from laminar_lens.stats.bootstrap import Interval, mapped
from laminar_lens.studies.lengths import over


def every_part(
    groups: Sequence[np.ndarray], rows: Sequence[np.ndarray], n: int, *, paired: bool
) -> np.ndarray:
    """Parts of the squared distance of each two groups, [prompt versus layer]; NaN where a prompt is in
    neither.

    Args:
        groups: the vectors of each, [prompt layer d_model].
        rows: which of the `n` prompts these are.
        paired: whether they are the same prompts in every group.
    """
    pairs = list(combinations(range(len(groups)), 2))
    found = np.full((n, len(pairs), groups[0].shape[1]), np.nan)
    for at, (a, b) in enumerate(pairs):
        for layer in range(found.shape[2]):
            x, y = (groups[one][:, layer].astype(np.float64) for one in (a, b))
            if paired:
                found[rows[a], at, layer] = _against(x - y, np.zeros_like(x))
            else:
                found[rows[a], at, layer], found[rows[b], at, layer] = _against(x, y), _against(y, x)
    return found


def _against(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The parts of the prompts of x, of vectors [prompt d_model]."""
    centre = y.mean(axis=0)
    by_chance = ((y - centre) ** 2).sum() / (len(y) * (len(y) - 1))
    gap = x - centre
    others = (gap.sum(axis=0) - gap) / (len(x) - 1)
    return np.asarray((gap * others).sum(axis=-1) - by_chance)


def squared(parts: np.ndarray, sides: Sequence[np.ndarray]) -> np.ndarray:
    """Pseudo-values of D² from the parts of one pair, [prompt …].

    Args:
        parts: [prompt …].
        sides: bool [prompt], the groups of the pair; one where the same prompts are in both.
    """
    return np.asarray(mean_of(parts, sides) + deviations(parts, sides, order=2))


def mean_of(x: np.ndarray, sides: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the groups' means, of [prompt …]."""
    return np.asarray(np.mean([x[side].mean(axis=0) for side in sides], axis=0))


def deviations(x: np.ndarray, sides: Sequence[np.ndarray], order: int = 1) -> np.ndarray:
    """How far each prompt is from the mean of its group, [prompt …], weighted by its group's size, so that
    the mean over all prompts scatters as the sum of these means does; 0 outside of them.

    Args:
        order: how many prompts of a group are in each product that `x` is a mean of.
    """
    found = np.zeros(x.shape)
    for side in sides:
        n = int(side.sum())
        weight = order * (n - 1) / max(n - order, 1)
        found[side] = weight * len(x) / n * (x[side] - x[side].mean(axis=0))
    return found


def lengths(square: np.ndarray, published: np.ndarray) -> np.ndarray:
    """Pseudo-values of the distance as published, whose scatter depends less on it than that of D² does.

    Args:
        square: pseudo-values of D², [prompt …].
        published: […], the distance of the two means, with what chance adds.
    """
    return np.asarray(published + _change(square, published))


def distances(square: np.ndarray, published: np.ndarray) -> np.ndarray:
    """Pseudo-values of D; where D² is below 0, D is 0, and scatters as the distance as published does."""
    length = np.sqrt(np.maximum(square.mean(axis=0), 0))
    return np.asarray(length + _change(square, np.where(length > 0, length, published)))


def angles(full: np.ndarray, plane: np.ndarray, published: np.ndarray) -> np.ndarray:
    """The angle between that distance and the plane, arctan(outside/inside), with pseudo-values that scatter
    as the share 1 − D²(plane)/D²(full) does where `left_out` makes it of them.

    Args:
        full, plane: pseudo-values of D² in both spaces, [prompt …].
        published: [2 …], the distances as published, in both.
    """
    whole, inside = published
    outside = np.sqrt(np.maximum(whole**2 - inside**2, 0))
    shown = plane.mean(axis=0) / np.where(full.mean(axis=0) > 0, full.mean(axis=0), np.inf)
    return np.asarray(np.arctan2(outside, inside) + _change(shown * full - plane, outside * inside))


def distance(found: Interval, chance: np.ndarray) -> Interval:
    """The interval of D from that of the distance as published, whose square is larger by `chance`."""
    return mapped(lambda one: np.sqrt(np.maximum(np.maximum(one, 0) ** 2 - chance, 0)), found)


def left_out(found: Interval, published: np.ndarray, chance: np.ndarray) -> Interval:
    """The interval of the share 1 − D²(plane)/D²(full) from that of the angle; NaN where D²(full) is not
    above 0.

    Args:
        published, chance: [2 …], the distances as published and what chance adds to their squares.
    """
    square = published[0] ** 2 - chance[0]
    outside = chance[0] - chance[1]

    def share(one: np.ndarray) -> np.ndarray:
        beside = np.sin(np.clip(one, 0, np.pi / 2)) ** 2
        return np.asarray(np.clip(over(published[0] ** 2 * beside - outside, square), 0, 1))

    return mapped(share, found)


def relative(lengths: np.ndarray, norms: np.ndarray, sides: Sequence[np.ndarray]) -> np.ndarray:
    """Pseudo-values of a length over the mean norm of two groups, [prompt layer].

    Args:
        lengths: its own.
        norms: of each prompt's vector, [prompt layer].
    """
    norm = mean_of(norms, sides)
    ratio = over(lengths.mean(axis=0), norm)
    return over(lengths - ratio * deviations(norms, sides) / len(sides), norm)


def _change(square: np.ndarray, length: np.ndarray) -> np.ndarray:
    """What the deviations of D² are on the scale of a length, [prompt …]."""
    away = square - square.mean(axis=0)
    return np.asarray(np.divide(away, 2 * length, out=np.zeros_like(away), where=length > 0))
