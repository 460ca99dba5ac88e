"""Which position explains the upper of two modes.

Sources: Vinh, Epps & Bailey (2010) (adjusted mutual information); Westfall & Young (1993) (maximum over
positions).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import gammaln

from laminar_lens.errors import InputError
from laminar_lens.stats.streams import stream

MAX_P = 0.01


@dataclass(frozen=True)
class Attribution:
    """Which position explains the upper mode.

    Attributes:
        position: the position, or None where no position explains it (p above 0.01).
        precision: of the pairs that contain the position, the share in the upper mode.
        recall: of the upper mode, the share of pairs that contain the position.
        ami: adjusted mutual information, 1 = the same split, 0 = chance, negative = the position avoids the
            upper mode.
        p: permutation p over the maximum of positions; 1 where nothing could be tested.
    """

    position: int | None
    precision: float
    recall: float
    ami: float
    p: float


def attribute(
    upper: Bool[np.ndarray, " n"], pairs: Shaped[np.ndarray, "..."], *, n_perm: int = 2000, seed: int = 0
) -> Attribution:
    """Find the position whose presence in a pair explains the upper mode; call it only for two modes.

    Args:
        upper: by text, whether its pair lies in the upper mode.
        pairs: by text, the two positions of its pair [n 2]; an index -1 means no pair, and the text is left
            out.

    Raises:
        InputError: shapes that do not fit, or n_perm below 1.

    Source: Vinh, Epps & Bailey (2010); maximum over positions after Westfall & Young (1993).
    """
    pairs, upper = np.asarray(pairs), np.asarray(upper, dtype=bool)
    if pairs.shape != (len(upper), 2):
        raise InputError(f"pairs of shape {pairs.shape} for {len(upper)} texts: give two positions a text")
    if n_perm < 1:
        raise InputError(f"n_perm={n_perm} draws no permutation: give at least 1, usually 2000")
    kept = (pairs >= 0).all(axis=1)
    pairs, upper = pairs[kept], upper[kept]
    n, n_upper = len(upper), int(upper.sum())
    if n_upper in (0, n):
        return Attribution(None, float("nan"), float("nan"), float("nan"), 1.0)
    positions = np.unique(pairs)
    contains = (pairs[:, :, None] == positions).any(axis=1)  # text position
    sizes = contains.sum(axis=0)
    table = np.stack([_ami_by_overlap(n, n_upper, int(size)) for size in sizes])  # position overlap
    overlap = upper.astype(np.int64) @ contains
    observed = table[np.arange(len(positions)), overlap]
    best = int(np.argmax(observed))
    shuffled = stream(seed, "permutations of an attribution").permuted(
        np.broadcast_to(upper, (n_perm, n)), axis=1
    )
    overlaps = np.rint(shuffled.astype(np.float64) @ contains).astype(np.int64)
    largest = table[np.arange(len(positions)), overlaps].max(axis=1)
    p = float((1 + np.count_nonzero(largest >= observed[best] - 1e-9)) / (n_perm + 1))
    return Attribution(
        int(positions[best]) if p <= MAX_P and observed[best] > 0 else None,
        float(overlap[best] / sizes[best]),
        float(overlap[best] / n_upper),
        float(observed[best]),
        p,
    )


def _ami_by_overlap(n: int, n_upper: int, size: int) -> Float[np.ndarray, " overlap"]:
    """Adjusted mutual information of two subsets of n texts, by overlap 0 … n_upper; −|AMI| below chance.

    With both sizes fixed the overlap is hypergeometric by chance, so the expectation is a sum over overlaps.
    """
    k = np.arange(n_upper + 1)
    possible = (k <= size) & (k >= size + n_upper - n)
    cells = np.stack([k, n_upper - k, size - k, n - n_upper - size + k]).astype(np.float64)
    margins = np.array(
        [n_upper * size, n_upper * (n - size), (n - n_upper) * size, (n - n_upper) * (n - size)], float
    )
    filled = np.where(possible & (cells > 0), cells, 1.0)
    expected_cells = np.maximum(margins / n, 1e-300)[:, None]
    information = np.where(possible & (cells > 0), filled / n * np.log(filled / expected_cells), 0.0).sum(
        axis=0
    )
    factorials = gammaln(np.maximum(cells, 0) + 1).sum(axis=0)
    constant = gammaln(np.array([n_upper, n - n_upper, size, n - size]) + 1.0).sum() - gammaln(n + 1.0)
    chance = float((np.exp(constant - factorials) * possible * information).sum())
    top = 0.5 * (_entropy(n_upper / n) + _entropy(size / n))
    if top - chance < 1e-12:  # a position in every pair or in none
        return np.zeros(n_upper + 1)
    adjusted = (information - chance) / (top - chance)
    below = k < n_upper * size / n
    return np.where(possible, np.where(below, -np.abs(adjusted), adjusted), 0.0)


def _entropy(share: float) -> float:
    parts = np.array([share, 1 - share])
    parts = parts[parts > 0]
    return float(-(parts * np.log(parts)).sum())
