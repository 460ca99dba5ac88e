"""Correlations along the positions of each text: Pearson's, Spearman's, and with other numbers held fixed."""

import numpy as np
from scipy.stats import rankdata

METHODS = ("pearson", "spearman")
LEAST = 4
"""Positions that a correlation needs at least, and one more for each number that is held fixed."""


def by_text(x: np.ndarray, y: np.ndarray, fixed: np.ndarray | None = None) -> np.ndarray:
    """Pearson's correlation of each text, over its positions.

    Args:
        x, y: [text pos].
        fixed: [text pos number]; held fixed, so that what is left of `x` and `y` after a linear fit is
            correlated.

    Returns:
        [text], in [−1, 1]; NaN for a text with a missing number, with too few positions, or in which `x` or
        `y` does not vary (beyond the numbers held fixed).
    """
    numbers = 0 if fixed is None else fixed.shape[2]
    if x.shape[1] < LEAST + numbers:
        return np.full(len(x), np.nan)
    known = np.isfinite(x).all(1) & np.isfinite(y).all(1)
    if fixed is not None:
        known &= np.isfinite(fixed).all((1, 2))
    found = np.full(len(x), np.nan)
    if known.any():
        left = [_left(one[known], None if fixed is None else fixed[known]) for one in (x, y)]
        product = (left[0] * left[1]).sum(1)
        sizes = np.sqrt((left[0] ** 2).sum(1) * (left[1] ** 2).sum(1))
        found[known] = np.divide(product, sizes, out=np.full(len(product), np.nan), where=sizes > 0)
    return np.asarray(np.clip(found, -1, 1))


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of each text's numbers along its positions; equal ones share their mean rank.

    Spearman's correlation is Pearson's of these.
    """
    return np.asarray(rankdata(x, axis=1, nan_policy="propagate"))


def _left(x: np.ndarray, fixed: np.ndarray | None) -> np.ndarray:
    """What is left of each text's numbers without their mean and a fit by `fixed`; 0 where only rounding
    is."""
    centred = x - x.mean(1, keepdims=True)
    left = centred
    if fixed is not None:
        by = fixed - fixed.mean(1, keepdims=True)
        scale = np.sqrt((by**2).sum(1, keepdims=True))
        varies = scale > 1e-12 * np.abs(fixed).max(1, keepdims=True)
        by = np.divide(by, scale, out=np.zeros_like(by), where=varies)
        left = left - np.einsum("tpk,tkq,tq->tp", by, np.linalg.pinv(by, rcond=1e-9), centred)
    size, rest = (np.sqrt((one**2).sum(1, keepdims=True)) for one in (x, left))
    return np.where(rest <= 1e-10 * size, 0.0, left)
