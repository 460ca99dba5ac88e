"""The studentised bootstrap of quantiles: values of every resample, and without each of its texts.

Sources: Harrell & Davis (1982) (quantiles); Efron & Tibshirani (1993), 11 (jackknife) and 12.5 (bootstrap-t).
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.special import betainc

from laminar_lens.stats.bootstrap import bounds, resampling_counts, studentised
from laminar_lens.stats.one_thread import one_thread

SE_FLOOR = {"quantile": 0.2, "shift": 0.6}
"""Least standard error of a resample, as a share of the sample's own."""


def studentised_interval(
    value: Float[np.ndarray, " resample"],
    left_out: Float[np.ndarray, "resample n"],
    counts: Float[np.ndarray, "resample n"],
    level: float,
    calibration: float,
) -> tuple[float, float, float]:
    """Estimate and bounds; row 0 is the sample itself, `left_out` the value without one copy of a text."""
    n = counts.shape[1]
    centre = (counts * left_out).sum(axis=1, keepdims=True) / n
    se = np.sqrt((n - 1) / n * (counts * (left_out - centre) ** 2).sum(axis=1))
    tail = (1 - level) / 2 * calibration
    low, high = sample_bounds(value[:, None], se[:, None], tail, SE_FLOOR["quantile"])
    return float(value[0]), float(low[0]), float(high[0])


def sample_bounds(
    value: Float[np.ndarray, "resample entry"],
    se: Float[np.ndarray, "resample entry"],
    tail: float,
    floor: float,
) -> tuple[Float[np.ndarray, " entry"], Float[np.ndarray, " entry"]]:
    """Bootstrap-t bounds from the values and standard errors of the sample (row 0) and its resamples."""
    return bounds(value[0], se[0], studentised(value[1:] - value[0], se[1:], floor * se[0]), tail)


@lru_cache(maxsize=4)
def shared_counts(n: int, n_boot: int, seed: int) -> Float[np.ndarray, "resample n"]:
    """How often each text occurs in the sample (row 0) and in each resample: the same, read-only array for
    all layers of one call."""
    counts = np.vstack([np.ones(n), resampling_counts(n, n_boot, seed)])
    counts.setflags(write=False)  # shared by all callers
    return counts


@one_thread
def resampled_part(
    x: Float[np.ndarray, " n"], counts: Float[np.ndarray, "resample n"], part: str
) -> tuple[Float[np.ndarray, " resample"], Float[np.ndarray, "resample n"]]:
    """A quantile of each resample, and the same with one copy of each text left out.

    A resample's quantile is the last value minus the sum of F·(step to the next value), F the Harrell–Davis
    weight up to there: with the texts sorted once, F is a table look-up of the cumulative counts, and leaving
    out a copy of text j uses the table of n − 1 texts, with the counts from j on reduced by one.
    """
    n = len(x)
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    steps = np.diff(ordered, append=ordered[-1])
    reached = np.rint(np.cumsum(counts[:, order], axis=1)).astype(np.int64)
    value = ordered[-1] - _quantile_weights(n, part)[reached] @ steps
    fewer = _quantile_weights(n - 1, part)
    before = fewer[np.minimum(reached, n - 1)] * steps
    after = fewer[np.maximum(reached - 1, 0)] * steps
    left_out = np.empty_like(before)
    sums = np.cumsum(before - after, axis=1) - (before - after)  # over the texts below j
    left_out[:, order] = ordered[-1] - after.sum(axis=1, keepdims=True) - sums
    return value, left_out


@lru_cache(maxsize=256)
def _quantile_weights(n: int, part: str) -> Float[np.ndarray, " count"]:
    """Weight of the k smallest of n values, k = 0 … n, in the Harrell–Davis estimate of a quantile."""
    at = float(part)
    return np.asarray(betainc((n + 1) * at, (n + 1) * (1 - at), np.arange(n + 1) / n))
