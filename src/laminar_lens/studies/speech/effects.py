"""How much one class of words differs from another within each text, as they are and matched."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

LEAST = 2
"""Words that a fit needs for each number that it finds."""
ESTIMABLE = 1e-6


def pairs(n: int) -> list[tuple[int, int]]:
    """All pairs of n classes."""
    return list(combinations(range(n), 2))


def by_text(y: np.ndarray, kind: np.ndarray, classes: Sequence[int], fixed: np.ndarray) -> np.ndarray:
    """Mean of each class minus that of another, in each text.

    Matched means: in the least-squares fit of y on the class and the numbers that are held fixed.

    Args:
        y: [text word …]; a word with a number that is not finite is left out.
        kind: [text word], its class.
        classes: those that are compared; words of others are left out.
        fixed: [text word number].

    Returns:
        [text pair held …], in the unit of y, first as they are, then matched. NaN where a text lacks a class;
        matched also where it has fewer than `LEAST` words a number of the fit, or where the fit cannot tell
        the two classes apart.
    """
    finite = np.isfinite(y).reshape(*y.shape[:2], -1).all(axis=-1)
    known = finite & np.isfinite(fixed).all(axis=-1) & np.isin(kind, classes)
    found = np.full((len(y), len(pairs(len(classes))), 2, *y.shape[2:]), np.nan)
    for text, words in enumerate(known):
        member = (kind[text, words, None] == np.asarray(classes)).astype(float)
        for held, numbers in enumerate((np.zeros((int(words.sum()), 0)), _standardised(fixed[text, words]))):
            found[text, :, held] = _differences(y[text, words], member, numbers)
    return found


def _differences(y: np.ndarray, member: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """[pair …] of one text."""
    terms = np.concatenate([member, numbers], axis=1)
    n_classes = member.shape[1]
    contrasts = np.zeros((len(pairs(n_classes)), terms.shape[1]))
    for row, (a, b) in enumerate(pairs(n_classes)):
        contrasts[row, a], contrasts[row, b] = 1, -1
    if len(y) < (LEAST * np.linalg.matrix_rank(terms) if numbers.shape[1] else 1):
        return np.full((len(contrasts), *y.shape[1:]), np.nan)
    inverse = np.linalg.pinv(terms, rcond=1e-9)
    told = np.abs(contrasts @ inverse @ terms - contrasts).max(axis=1) < ESTIMABLE
    return np.where(told.reshape(-1, *[1] * (y.ndim - 1)), contrasts @ inverse @ y, np.nan)


def _standardised(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and spread 1; 0 where nothing varies."""
    if not len(x):
        return x
    centred = x - x.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    varies = spread > 1e-12 * np.maximum(1, np.abs(x).max(axis=0))
    return np.asarray(np.divide(centred, spread, out=np.zeros_like(centred), where=varies))
