"""Intervals of [layer text] angles over texts, without numbers where there are too few texts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from laminar_lens.stats.bootstrap import FEW, Interval, nothing
from laminar_lens.stats.intervals import iqr_trend_interval, mean_shift_interval, statistic_interval
from laminar_lens.stats.means import mean


def fan_out(x: np.ndarray, layers: Sequence[int], seed: int) -> Interval:
    """Change of the interquartile range from the first of these layers to the last, along a straight line."""
    slope = iqr_trend_interval(x.T, np.asarray(layers), seed=seed)
    span = layers[-1] - layers[0]
    estimate, low, high = (np.asarray(end * span) for end in (slope.estimate, slope.low, slope.high))
    return replace(slope, estimate=estimate, low=low, high=high)


def steadiness(target: np.ndarray, baseline: np.ndarray, seed: int) -> Interval:
    """IQR over texts of the target over that of the baseline; a text counts by its mean angle over layers."""
    x, y = mean(target, axis=0), mean(baseline, axis=0)
    if (np.isfinite(x) & np.isfinite(y)).sum() < 2:
        return nothing((), FEW)
    return statistic_interval("iqr_ratio", x, y, seed=seed)


def first_shift(x: np.ndarray, contains_first: np.ndarray, seed: int) -> Interval:
    """How the mean over texts of [layer text] moves by the texts whose pair contains position 0, by layer."""
    has = np.isfinite(x).any(axis=0)
    inside = contains_first & has
    if not inside.any():
        return nothing(x.shape[:1], "no pair contains position 0")
    if inside.sum() == has.sum():
        return nothing(x.shape[:1], "every pair contains position 0")
    return mean_shift_interval(x[:, has].T, contains_first[has], seed=seed)
