"""Intervals for means over texts: bootstrap-t for one quantity, simultaneous max-t bands for many.

A text is the unit: texts are drawn with replacement, all layers and positions of a text together, so that
nothing is assumed about their dependence. Both cost one matrix product of the counts with the data.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 12.5 (bootstrap-t); Westfall &
Young, Resampling-Based Multiple Testing (1993) (maximum of |t|).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

from laminar_lens.errors import InputError
from laminar_lens.stats.one_thread import one_thread
from laminar_lens.stats.streams import stream

FEW = "fewer than 2 texts have a value"
MIN_TEXTS = {"mean": 20, "band": 40}
"""The fewest texts at which coverage was validated (tests/validate/TABLE.md), by kind of interval."""

N_BOOT = 1999
BLOCK = 2_000_000  # float64 numbers in one block of resampled means: bounds the memory at about 100 MB
SE_FLOOR = {"mean": 0.6, "band": 0.35}
"""Least standard error of a resample, as a share of the sample's: one that lost a mode must not decide t."""


class TooFewError(InputError):
    """No entry has two observations."""


@dataclass(frozen=True, eq=False)
class Interval:
    """An estimate and its confidence interval, one entry for each entry of the data's trailing axes.

    Attributes:
        estimate: in the data's unit; NaN where fewer than two texts have a value.
        low, high: the bounds; NaN where the interval is withheld.
        level: nominal coverage.
        n: the smallest number of texts behind any entry that has an estimate.
        n_valid: the number of texts behind each entry (after averaging groups).
        withheld: empty, or one line that says where and why bounds are missing.
    """

    estimate: Float[np.ndarray, "*shape"]
    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]
    level: float
    n: int
    n_valid: Int[np.ndarray, "*shape"]
    withheld: str


def nothing(shape: tuple[int, ...], why: str) -> Interval:
    """An interval without numbers."""
    nan = np.full(shape, np.nan)
    return Interval(nan, nan.copy(), nan.copy(), 0.95, 0, np.zeros(shape, dtype=int), why)


def mean_interval(
    x: Shaped[np.ndarray, "..."],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Interval:
    """Bootstrap-t interval of the mean over texts (axis 0), for each entry of the trailing axes by itself.

    Texts of one group are averaged first: a group is one observation. A text with NaN is left out of that
    entry only.

    Returns:
        Bounds in the unit of `x`; NaN below 20 texts, where coverage was not validated. A mean that does not
        vary has an interval of length 0.

    Raises:
        InputError: no entry has two texts; `level` outside (0, 1); fewer than 99 resamples; groups of another
            length.

    Source: Efron & Tibshirani (1993), 12.5.
    """
    values = observations(x, groups)
    check_settings(level, n_boot)
    moments = _Moments.of(values)
    low, high = np.zeros((2, moments.mean.size))
    for columns, t in _resampled_t(moments, n_boot, seed, SE_FLOOR["mean"]):
        low[columns], high[columns] = bounds(moments.mean[columns], moments.se[columns], t, (1 - level) / 2)
    return finish(moments.mean, low, high, moments.n, level, "mean", values.shape[1:])


def simultaneous_band(
    x: Shaped[np.ndarray, "..."],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Interval:
    """Band that covers the means of all entries at once: mean ± c·se, c the quantile of the largest |t|.

    Entries without variance, or with too few texts, have no part in the maximum.

    Returns:
        Bounds in the unit of `x`; NaN below the validated number of texts.

    Raises:
        InputError: as `mean_interval`.

    Source: Westfall & Young (1993); the maximum over resampled, recentred t.
    """
    values = observations(x, groups)
    check_settings(level, n_boot)
    moments = _Moments.of(values)
    largest = np.zeros(n_boot)
    for columns, t in _resampled_t(moments, n_boot, seed, SE_FLOOR["band"]):
        usable = (moments.n[columns] >= MIN_TEXTS["band"]) & (moments.se[columns] > 0)
        if usable.any():
            largest = np.maximum(largest, np.abs(t[:, usable]).max(axis=1))
    reach = float(resampled_quantile(largest, level)) * moments.se
    low, high = moments.mean - reach, moments.mean + reach
    return finish(moments.mean, low, high, moments.n, level, "band", values.shape[1:])


def _or_nothing(make: Callable[..., Interval], x: ArrayLike, **how: Any) -> Interval:
    """An interval; one without numbers where no entry has two observations."""
    try:
        return make(x, **how)
    except TooFewError:
        return nothing(np.shape(x)[1:], FEW)


band_or_nothing = partial(_or_nothing, simultaneous_band)
mean_or_nothing = partial(_or_nothing, mean_interval)


def mapped(of: Callable[[np.ndarray], np.ndarray], found: Interval) -> Interval:
    """The interval of a rising function of what has one: by `np.exp`, that of a geometric mean."""
    estimate, low, high = (np.asarray(of(one)) for one in (found.estimate, found.low, found.high))
    return replace(found, estimate=estimate, low=low, high=high)


def observations(
    x: Shaped[np.ndarray, "..."], groups: Shaped[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "n_groups *shape"]:
    """The data in float64, one row for each independent observation; missing (not finite) values are NaN.

    Raises:
        InputError: no text axis, groups of another length, or no entry with two observations.
    """
    values = np.array(x, dtype=np.float64)
    if values.ndim == 0:
        raise InputError(f"a single number ({values}) has no texts: give an array whose axis 0 is the texts")
    values[~np.isfinite(values)] = np.nan
    if groups is not None:
        values = _group_means(values, np.asarray(groups))
    count = int(np.isfinite(values).sum(axis=0).max(initial=0))
    if count < 2:
        raise TooFewError(f"{count} texts with a value: an interval or a test over texts needs at least 2")
    return values


@one_thread
def _group_means(values: Float[np.ndarray, "n *shape"], groups: Shaped[np.ndarray, "..."]) -> np.ndarray:
    if groups.shape != values.shape[:1]:
        raise InputError(f"groups has shape {groups.shape} for {len(values)} texts: give one label a text")
    labels, member = np.unique(groups, return_inverse=True)
    flat = values.reshape(len(values), -1)
    indicator = (member[None, :] == np.arange(len(labels))[:, None]).astype(np.float64)
    valid = np.isfinite(flat)
    counts = indicator @ valid
    sums = indicator @ np.where(valid, flat, 0.0)
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means.reshape(len(labels), *values.shape[1:])


def check_settings(level: float, n_boot: int) -> None:
    """Raise InputError for a level outside (0, 1) or too few resamples."""
    if not 0 < level < 1:
        raise InputError(f"level={level} is not a confidence level: give one between 0 and 1, such as 0.95")
    if n_boot < 99:
        raise InputError(f"n_boot={n_boot} is too few resamples for an interval: give at least 99")


def studentised(
    deviation: Float[np.ndarray, "n_boot entry"],
    se: Float[np.ndarray, "n_boot entry"],
    least: Float[np.ndarray, " entry"] | float = 0.0,
) -> Float[np.ndarray, "n_boot entry"]:
    """t of each resample: how far it is from the sample over its standard error, taken as `least` where it is
    less; 0 where nothing varies."""
    floored = np.maximum(se, least)
    return np.asarray(np.divide(deviation, floored, out=np.zeros_like(floored), where=floored > 0))


def bounds(
    estimate: Float[np.ndarray, " entry"],
    se: Float[np.ndarray, " entry"],
    t: Float[np.ndarray, "n_boot entry"],
    tail: float,
) -> tuple[Float[np.ndarray, " entry"], Float[np.ndarray, " entry"]]:
    """Bootstrap-t bounds of the sample from the t of its resamples, `tail` of which lie beyond each."""
    low_t, high_t = resampled_quantile(t, [tail, 1 - tail])
    return estimate - se * high_t, estimate - se * low_t


def resampled_quantile(
    t: Float[np.ndarray, "n_boot *entry"], at: float | list[float]
) -> Float[np.ndarray, "*quantile_entry"]:
    """Quantiles over resamples at rank p·(B + 1): with NumPy's default, 299 of them lose 0.6% of coverage."""
    return np.asarray(np.quantile(t, at, axis=0, method="weibull"))


@lru_cache(maxsize=1)
def resampling_counts(n: int, n_boot: int, seed: int) -> Float[np.ndarray, "n_boot n"]:
    """How often each of `n` texts occurs in each resample; rows add up to n. Made once for all, read-only."""
    drawn = stream(seed, "bootstrap over texts").multinomial(n, np.full(n, 1 / n), size=n_boot)
    counts = drawn.astype(np.float64)
    counts.setflags(write=False)
    return counts


@dataclass(frozen=True, eq=False)
class _Moments:
    centred: Float[np.ndarray, "n_obs entry"]  # 0 where missing
    valid: Bool[np.ndarray, "n_obs entry"]
    n: Int[np.ndarray, " entry"]
    mean: Float[np.ndarray, " entry"]
    se: Float[np.ndarray, " entry"]

    @classmethod
    def of(cls, values: Float[np.ndarray, "n *shape"]) -> "_Moments":
        flat = values.reshape(len(values), -1)
        valid = np.isfinite(flat)
        n = valid.sum(axis=0)
        mean = np.where(valid, flat, 0.0).sum(axis=0) / np.maximum(n, 1)
        centred = np.where(valid, flat - mean, 0.0)
        se = np.sqrt((centred**2).sum(axis=0) / np.maximum(n - 1, 1) / np.maximum(n, 1))
        se[se <= 1e-12 * np.abs(mean)] = 0.0  # rounding of equal values is no variance
        mean[n < 2] = np.nan
        return cls(centred, valid, n, mean, se)


@one_thread
def _resampled_t(
    moments: _Moments, n_boot: int, seed: int, floor: float
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of entries with the resampled t of each, [n_boot, entries]; 0 where the entry does not vary."""
    n, entries = moments.centred.shape
    counts = resampling_counts(n, n_boot, seed)
    width = max(1, BLOCK // n_boot)
    for start in range(0, entries, width):
        columns = slice(start, start + width)
        centred, valid = moments.centred[:, columns], moments.valid[:, columns]
        size = np.full((1, 1), float(n)) if valid.all() else np.maximum(counts @ valid, 2.0)
        mean = (counts @ centred) / size
        variance = np.maximum((counts @ centred**2) / size - mean**2, 0.0) * size / (size - 1)
        yield columns, studentised(mean, np.sqrt(variance / size), floor * moments.se[columns])


def finish(
    estimate: Float[np.ndarray, " entry"],
    low: Float[np.ndarray, " entry"],
    high: Float[np.ndarray, " entry"],
    n_valid: Int[np.ndarray, " entry"],
    level: float,
    kind: str,
    shape: tuple[int, ...],
    minimum: int | None = None,
) -> Interval:
    """An Interval in the data's shape, with the bounds withheld below the validated number of texts; an entry
    that no text has (the rotation of layer 0) is not counted among those."""
    least = MIN_TEXTS[kind] if minimum is None else minimum
    there = n_valid > 0
    few = there & (n_valid < least)
    reason = ""
    if few.any():
        where = "" if few.sum() == there.sum() else f" in {int(few.sum())} of {int(there.sum())} entries"
        fewest = int(n_valid[few].min())
        reason = (
            f"interval withheld{where}: {fewest} text{'s' * (fewest != 1)}, and the coverage of this interval"
            f" ({kind}) was validated from {least} up"
        )
    low, high = (np.where(there & ~few, end, np.nan) for end in (low, high))
    has = n_valid >= 2
    return Interval(
        estimate.reshape(shape),
        low.reshape(shape),
        high.reshape(shape),
        level,
        int(n_valid[has].min()) if has.any() else 0,
        n_valid.reshape(shape),
        reason,
    )
