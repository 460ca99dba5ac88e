"""Intervals for spreads, their ratios and trends, shifts and medians over texts.

Quantiles are Harrell–Davis estimates (smooth weights on all order statistics), so that the jackknife has a
standard error for them and bootstrap-t applies; spreads and ratios are studentised on the logarithm. A whole
text is drawn at a time, with its values in both samples and in all layers. Medians need no bootstrap: their
intervals run between order statistics.

Sources: Harrell & Davis (1982) (quantiles); Efron & Tibshirani (1993), 11 (jackknife) and 12.5 (bootstrap-t).
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.stats import binom

from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import Interval, check_settings, finish, observations
from laminar_lens.stats.one_thread import one_thread
from laminar_lens.stats.studentised import (
    SE_FLOOR,
    resampled_part,
    sample_bounds,
    shared_counts,
    studentised_interval,
)

N_BOOT = 999
QUANTILE_TAIL = 0.85
"""Calibration: with nominal tails, 95% intervals of quantiles covered 92–94% in every shape simulated."""
MIN_QUANTILE = 20  # texts
MIN_SHIFT = 40  # texts; at 20 the interval of a shift covered 98%
LOG_EDGE = 600.0
MIN_SIDE = 5  # texts on each side of a comparison inside one sample


PARTS = ("0.25", "0.75")
STATISTICS = {"iqr": 1, "iqr_ratio": 2}
"""By name, of how many samples: `iqr` of x; `iqr_ratio` of x against y."""


def statistic_interval(
    statistic: str,
    x: Shaped[np.ndarray, "..."],
    y: Shaped[np.ndarray, "..."] | None = None,
    *,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Interval:
    """Interval over texts (axis 0) of a statistic of STATISTICS, for each entry of the trailing axes.

    Args:
        statistic: which number.
        x: values by text.
        y: the second sample of the same texts, where the statistic compares two; a text with NaN in either is
            left out of that entry.

    Returns:
        The estimate in the unit of `x`, or without unit for ratios (NaN where either spread is 0); quantiles
        are Harrell–Davis, which differ from `np.quantile` by a fraction of their standard error. Bounds are
        NaN below the validated number of texts.

    Raises:
        InputError: unknown statistic, a second sample missing or not wanted, shapes that differ, and as
            `mean_interval`.

    Source: Harrell & Davis (1982); Efron & Tibshirani (1993), 12.5.
    """
    if statistic not in STATISTICS:
        raise InputError(f"statistic={statistic!r} is unknown: choose one of {', '.join(STATISTICS)}")
    paired = STATISTICS[statistic] == 2
    if paired != (y is not None):
        wanted = "two samples, x and y" if paired else "one sample, x"
        raise InputError(f"statistic={statistic!r} takes {wanted}")
    check_settings(level, n_boot)
    samples = [observations(sample) for sample in (x, y) if sample is not None]
    if samples[0].shape != samples[-1].shape:
        raise InputError(
            f"x has shape {samples[0].shape} and y {samples[-1].shape}: give the same texts and layers"
        )
    shape = samples[0].shape[1:]
    flat = np.stack([sample.reshape(len(sample), -1) for sample in samples])  # sample n entry
    complete = np.isfinite(flat).all(axis=0)
    n_valid = complete.sum(axis=0)
    results = np.full((3, flat.shape[2]), np.nan)
    for entry in np.flatnonzero(n_valid >= 2):
        columns = list(flat[:, complete[:, entry], entry])
        results[:, entry] = _log_spread(columns, level, n_boot, seed)
    results = np.exp(np.clip(results, -LOG_EDGE, LOG_EDGE))
    vanishing = results[0] < 1e-200
    results[:, vanishing] = np.nan if paired else 0.0  # a spread of 0
    results[:, results[0] > 1e200] = np.nan
    return finish(results[0], results[1], results[2], n_valid, level, statistic, shape, MIN_QUANTILE)


def iqr_trend_interval(
    x: Shaped[np.ndarray, "..."],
    layers: Shaped[np.ndarray, " layer"] | None = None,
    *,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Interval:
    """Least-squares slope over layers of the interquartile range over texts of `x` [n layer].

    Texts with NaN in any layer are left out.

    Args:
        x: values by text and layer.
        layers: the abscissa, by default 0, 1, 2, …

    Returns:
        The unit of `x` per layer; positive where texts fan out. Bounds are NaN below 20 texts.

    Raises:
        InputError: not [texts, layers] with at least two layers, and as `mean_interval`.
    """
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(
            f"values of shape {values.shape} for a trend over layers: give [texts, layers], at least 2"
        )
    check_settings(level, n_boot)
    along = (
        np.arange(values.shape[1], dtype=np.float64)
        if layers is None
        else np.asarray(layers, dtype=np.float64)
    )
    if along.shape != values.shape[1:] or not np.ptp(along) > 0:
        raise InputError(
            f"layers of shape {along.shape} for {values.shape[1]} layers: give one number each, not all equal"
        )
    known = observations(values)
    complete = known[np.isfinite(known).all(axis=1)]
    if len(complete) < 2:
        raise InputError(f"{len(complete)} texts without a missing layer: a trend needs at least 2")
    slope = (along - along.mean()) / ((along - along.mean()) ** 2).sum()

    counts = shared_counts(len(complete), n_boot, seed)
    value, left_out = np.zeros(len(counts)), np.zeros(counts.shape)
    for column, weight in zip(complete.T, slope, strict=True):
        for part, sign in zip(PARTS, (-1.0, 1.0), strict=True):
            of_resample, without_one = resampled_part(column, counts, part)
            value += sign * weight * of_resample
            left_out += sign * weight * without_one
    estimate, low, high = (
        np.asarray([number]) for number in studentised_interval(value, left_out, counts, level, QUANTILE_TAIL)
    )
    return finish(estimate, low, high, np.asarray([len(complete)]), level, "iqr_trend", (), MIN_QUANTILE)


def mean_shift_interval(
    x: Shaped[np.ndarray, "..."],
    leave_out: Bool[np.ndarray, " n"],
    *,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Interval:
    """How far the mean over texts moves because some are in: mean of all minus mean without `leave_out`.

    Args:
        x: values by text [n ...].
        leave_out: by text, True where its pair contains the position in question.

    Returns:
        The unit of `x`. Bounds are NaN where fewer than 5 texts are on either side, or fewer than 40 in all.

    Raises:
        InputError: shapes that do not fit, no text on one side, and as `mean_interval`.
    """
    values = observations(x)
    marked = np.asarray(leave_out, dtype=bool)
    if marked.shape != values.shape[:1]:
        raise InputError(
            f"leave_out has shape {marked.shape} for {len(values)} texts: give one truth value a text"
        )
    if marked.all():
        raise InputError(f"leave_out marks all {len(marked)} texts: nothing remains to compare with")
    check_settings(level, n_boot)
    flat = values.reshape(len(values), -1)
    valid = np.isfinite(flat)
    n_in, n_out = valid[marked].sum(axis=0), valid[~marked].sum(axis=0)
    shift, se = _mean_shift(flat, valid, marked, shared_counts(len(flat), n_boot, seed))
    low, high = sample_bounds(shift, se, (1 - level) / 2, SE_FLOOR["shift"])
    estimate = np.where(n_out > 0, shift[0], np.nan)
    usable = np.minimum(n_in, n_out) >= MIN_SIDE
    low, high = np.where(usable, low, np.nan), np.where(usable, high, np.nan)
    shape = values.shape[1:]
    answer = finish(estimate, low, high, n_in + n_out, level, "mean_shift", shape, MIN_SHIFT)
    if answer.withheld or usable.all():
        return answer
    least = int(np.minimum(n_in, n_out).min())
    return replace(
        answer,
        withheld=f"interval withheld: {least} texts on one side, at least {MIN_SIDE} are needed",
    )


def simultaneous_medians(x: Shaped[np.ndarray, "..."], *, level: float = 0.95) -> Interval:
    """Medians over texts (axis 0) of all entries, with intervals that hold at once (Bonferroni).

    Each runs between two order statistics, so it covers at least at its level whatever the shape of the data:
    also where they have two modes, between which a bootstrap of the median fails.

    Returns:
        Bounds in the unit of `x`; NaN below 20 texts.

    Raises:
        InputError: as `mean_interval`.

    Source: David & Nagaraja, Order Statistics (2003), 7.1.
    """
    values = observations(x)
    check_settings(level, N_BOOT)
    flat = values.reshape(len(values), -1)
    n = np.isfinite(flat).sum(axis=0)
    ordered = np.sort(flat, axis=0)  # NaN last
    tail = (1 - level) / 2 / flat.shape[1]
    rank = np.maximum(binom.ppf(tail, n, 0.5).astype(int), 1)  # of the lower bound; of the upper from above
    below, above, low, high = (
        np.take_along_axis(ordered, np.maximum(at, 0)[None], axis=0)[0]
        for at in ((n - 1) // 2, n // 2, rank - 1, n - rank)
    )
    return finish((below + above) / 2, low, high, n, level, "median", values.shape[1:], MIN_QUANTILE)


@one_thread
def _mean_shift(
    values: Float[np.ndarray, "n entry"],
    valid: Bool[np.ndarray, "n entry"],
    marked: Bool[np.ndarray, " n"],
    counts: Float[np.ndarray, "resample n"],
) -> tuple[Float[np.ndarray, "resample entry"], Float[np.ndarray, "resample entry"]]:
    """Shift and linear standard error in each resample, from counts, sums, squares of the two sides."""
    present = valid.astype(np.float64)
    centre = np.where(valid, values, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    centred = np.where(valid, values - centre, 0.0)
    sides = [
        [counts[:, side] @ data[side] for data in (present, centred, centred**2)]
        for side in (marked, ~marked)
    ]
    (n_in, sum_in, square_in), (n_out, sum_out, square_out) = sides
    total, rest = np.maximum(n_in + n_out, 1), np.maximum(n_out, 1)
    mean, mean_out = (sum_in + sum_out) / total, sum_out / rest
    # influence of a marked text: x − mean; of another: x(1 − k) − mean + k·mean_out, with k = total/rest
    k = total / rest
    offset = k * mean_out - mean
    spread = square_in - 2 * mean * sum_in + n_in * mean**2
    spread = spread + (1 - k) ** 2 * square_out + 2 * (1 - k) * offset * sum_out + n_out * offset**2
    return mean - mean_out, np.sqrt(np.maximum(spread, 0.0)) / total


def _log_spread(
    columns: list[Float[np.ndarray, " n"]], level: float, n_boot: int, seed: int
) -> tuple[float, float, float]:
    """Logarithm of the interquartile range of a sample, or of two samples' ratio, with its bounds."""
    counts = shared_counts(len(columns[0]), n_boot, seed)
    logs = []
    for column in columns:
        low, high = (resampled_part(column, counts, part) for part in PARTS)
        logs.append([np.log(np.maximum(b - a, 1e-300)) for a, b in zip(low, high, strict=True)])
    value, left_out = logs[0] if len(logs) == 1 else (x - y for x, y in zip(*logs, strict=True))
    return studentised_interval(value, left_out, counts, level, QUANTILE_TAIL)
