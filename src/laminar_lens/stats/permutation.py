"""Differences over texts: sign flips of whole texts, the same in all layers, maximum over layers of |t|.

The null is that the difference of a text is symmetric about 0, jointly over layers. A baseline with two modes
breaks that symmetry without any effect, so stratify it by position or skip first.

Sources: Westfall & Young, Resampling-Based Multiple Testing (1993) (single-step maximum of |t|); Phipson &
Smyth (2010) for p = (1 + #≥)/(B + 1), which is never 0 and valid at any B.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import TooFewError, observations
from laminar_lens.stats.one_thread import one_thread
from laminar_lens.stats.streams import stream

N_PERM = 10_000
BLOCK = 4_000_000  # signs in one block of flips: bounds the memory at about 64 MB
EDGE = 1e-9  # |r| is kept this far from 1: equal differences give a very large t, not a division by 0
TIE = 1e-6  # relative; more than rounding at that edge: a flip that reproduces the data counts as "≥"


@dataclass(frozen=True, eq=False)
class SignFlip:
    """The test's answer for each layer and for all layers together.

    Attributes:
        t: Student's t of the mean difference by layer; NaN below two texts, 0 where all differences are 0.
        p: by layer, adjusted for the maximum over layers; NaN where t is.
        p_alone: by layer, of that layer by itself, for what controls the layers together in another way.
        p_overall: for "no difference in any layer".
        n: the smallest number of texts behind any layer that was tested.
        n_valid: the number of texts by layer (after averaging groups).
        n_perm: the number of flips drawn.
    """

    t: Float[np.ndarray, " layer"]
    p: Float[np.ndarray, " layer"]
    p_alone: Float[np.ndarray, " layer"]
    p_overall: float
    n: int
    n_valid: Int[np.ndarray, " layer"]
    n_perm: int


def sign_flip(
    diff: Shaped[np.ndarray, "..."],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    n_perm: int = N_PERM,
    seed: int = 0,
) -> SignFlip:
    """Test whether the mean of `diff` [n layer] (or [n]) over texts differs from 0 in some layer.

    A text with NaN in a layer is left out of that layer only.

    Returns:
        p in [1/(n_perm + 1), 1]; p_overall is the smallest p over layers.

    Raises:
        InputError: more than two axes, no layer with two texts, n_perm below 1, groups of another length.

    Source: Westfall & Young (1993), single-step adjusted p-values.
    """
    if n_perm < 1:
        raise InputError(f"n_perm={n_perm} draws no flip: give at least 1, usually 10000")
    values = observations(diff, groups)
    if values.ndim > 2:
        raise InputError(f"differences of shape {values.shape} for a sign-flip test: give [texts, layers]")
    values = values.reshape(len(values), -1)
    valid = np.isfinite(values)
    n = valid.sum(axis=0)
    tested = n >= 2
    filled = np.where(valid, values, 0.0)[:, tested]
    squares = (filled**2).sum(axis=0)
    observed = _t(filled.sum(axis=0), squares, n[tested])
    edges = np.abs(observed) * (1 - TIE)
    largest, alone = _under_null(filled, squares, n[tested], n_perm, seed, edges)
    reached = np.searchsorted(np.sort(largest), edges)
    t, p, p_alone = np.full((3, len(n)), np.nan)
    t[tested], p[tested] = observed, (1 + n_perm - reached) / (n_perm + 1)
    p_alone[tested] = (1 + alone) / (n_perm + 1)
    return SignFlip(t, p, p_alone, float(np.nanmin(p)), int(n[tested].min()), n, n_perm)


def flips_or_nothing(
    diff: Shaped[np.ndarray, "n *entry"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    n_perm: int = N_PERM,
    seed: int = 0,
) -> SignFlip | None:
    """`sign_flip` of all entries at once; None where no entry has two observations."""
    try:
        return sign_flip(diff.reshape(len(diff), -1), groups=groups, n_perm=n_perm, seed=seed)
    except TooFewError:
        return None


def _t(
    sums: Float[np.ndarray, "*flip layer"], squares: Float[np.ndarray, " layer"], n: Int[np.ndarray, " layer"]
) -> Float[np.ndarray, "*flip layer"]:
    """Flips keep the squares, so t² = (n − 1) r²/(1 − r²) with r = sum/√(n·squares)."""
    scale = np.sqrt(n * squares)
    r = np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 0)
    r = np.clip(r, EDGE - 1, 1 - EDGE)
    return np.asarray(r * np.sqrt((n - 1) / (1 - r**2)))


@one_thread
def _under_null(
    filled: Float[np.ndarray, "n layer"],
    squares: Float[np.ndarray, " layer"],
    n: Int[np.ndarray, " layer"],
    n_perm: int,
    seed: int,
    edges: Float[np.ndarray, " layer"],
) -> tuple[Float[np.ndarray, " flip"], Int[np.ndarray, " layer"]]:
    """The largest |t| of each flip, and in how many flips each layer's own reaches its edge."""
    rng = stream(seed, "sign flips of texts")
    height = max(1, BLOCK // len(filled))
    largest, alone = [], np.zeros(len(n), dtype=np.int64)
    for start in range(0, n_perm, height):
        size = (min(height, n_perm - start), len(filled))
        signs = rng.integers(0, 2, size=size, dtype=np.int8) * 2.0 - 1.0
        found = np.abs(_t(signs @ filled, squares, n))
        largest.append(found.max(axis=1))
        alone += (found >= edges).sum(axis=0)
    return np.concatenate(largest), alone
