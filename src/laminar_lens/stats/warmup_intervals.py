"""The intervals that decide a warm-up: of two one-sided tests for each pair, and of all pairs at once."""

import numpy as np
from scipy.stats import t as student_t

from laminar_lens.stats.bootstrap import studentised
from laminar_lens.stats.one_thread import one_thread

Array = np.ndarray
CHUNK = 256  # resamples at once


def intervals(d: Array, level: float, n_boot: int, rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Limits of the two one-sided tests, and the critical |t| of the simultaneous band.

    The limits are the wider of Student's and the bootstrap-t's on each side: the first is exact for normal
    differences, the second follows their skewness.
    """
    n = len(d)
    t = _bootstrap_t(d.reshape(n, -1), n_boot, rng)
    below, above = np.quantile(t, [1 - level, level], axis=0).reshape(2, *d.shape[1:])
    student = student_t.ppf(level, n - 1)
    mean, error = d.mean(0), d.std(0, ddof=1) / np.sqrt(n)
    critical = float(np.quantile(np.abs(t).max(axis=1), level))
    return mean - np.maximum(above, student) * error, mean + np.maximum(-below, student) * error, critical


@one_thread
def _bootstrap_t(d: Array, n_boot: int, rng: np.random.Generator) -> Array:
    """Studentised means [n_boot, column] of texts drawn with replacement, the same draw in all columns."""
    n = len(d)
    centred = d - d.mean(0)
    squared = centred**2
    floor = 1e-12 * squared.mean(0)
    t = np.empty((n_boot, d.shape[1]))
    for first in range(0, n_boot, CHUNK):
        rows = min(CHUNK, n_boot - first)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n) / n
        mean = weights @ centred
        variance = weights @ squared - mean**2
        good = variance > floor
        t[first : first + rows] = studentised(mean, np.sqrt(np.where(good, variance, 0.0) / (n - 1)))
    return t
