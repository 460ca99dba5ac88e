"""Simultaneous bands of means over texts of several groups, each of which is resampled by itself.

As `bootstrap.simultaneous_band`, but how many texts a group has is given: a mean over all texts is the sum of
the groups' means, each with its share of the texts, and its variance the sum of theirs.

Sources: as there; Davison & Hinkley, Bootstrap Methods and their Application (1997), 3.2 (several samples).
"""

import numpy as np
from jaxtyping import Float, Int, Shaped

from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import (
    BLOCK,
    N_BOOT,
    SE_FLOOR,
    Interval,
    finish,
    resampled_quantile,
    studentised,
)
from laminar_lens.stats.one_thread import one_thread
from laminar_lens.stats.streams import stream

FEWEST = 20
"""Texts of each group at which coverage was validated."""


@one_thread
def stratified_band(
    x: Shaped[np.ndarray, "n *shape"],
    groups: Int[np.ndarray, " n"],
    *,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Interval:
    """Band that covers the means of all entries over all texts at once.

    Args:
        x: by text; an entry with a NaN has no estimate.
        groups: of each text, 0, 1, …

    Returns:
        Bounds in the unit of `x`; NaN where the smallest group has fewer than 20 texts.

    Raises:
        InputError: a group with one text.
    """
    values = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    sizes = np.bincount(groups)
    if sizes.min() < 2:
        raise InputError(f"groups of {sizes.tolist()} texts: each needs at least 2 for an interval")
    rng = stream(seed, "bootstrap within groups")
    counts = [rng.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(np.float64) for n in sizes]
    mean, se, largest = values.mean(axis=0), np.zeros(values.shape[1]), np.zeros(n_boot)
    for start in range(0, values.shape[1], width := max(1, BLOCK // n_boot)):
        columns = slice(start, start + width)
        part = [values[groups == one, columns] for one in range(len(sizes))]
        se[columns], t = _resampled_t(part, counts)
        se[se <= 1e-12 * np.abs(mean)] = 0.0  # rounding of equal values is no variance
        if (usable := se[columns] > 0).any():
            largest = np.maximum(largest, np.abs(t[:, usable]).max(axis=1))
    reach = float(resampled_quantile(largest, level)) * se
    n = np.where(np.isfinite(mean), sizes.min(), 0)
    return finish(mean, mean - reach, mean + reach, n, level, "band", np.shape(x)[1:], FEWEST)


def _resampled_t(
    groups: list[Float[np.ndarray, "_ entry"]], counts: list[Float[np.ndarray, "n_boot _"]]
) -> tuple[Float[np.ndarray, " entry"], Float[np.ndarray, "n_boot entry"]]:
    """Standard errors of the sample, and t of each resample; 0 where an entry does not vary."""
    total = sum(map(len, groups))
    square, away, squares = 0.0, 0.0, 0.0
    for x, drawn in zip(groups, counts, strict=True):
        n, share = len(x), len(x) / total
        centred = x - x.mean(axis=0)
        mean = drawn @ centred / n
        variance = np.maximum(drawn @ centred**2 / n - mean**2, 0.0)
        square = square + share**2 * (centred**2).mean(axis=0) / (n - 1)
        away, squares = away + share * mean, squares + share**2 * variance / (n - 1)
    se = np.sqrt(np.asarray(square))
    return se, studentised(np.asarray(away), np.sqrt(np.asarray(squares)), SE_FLOOR["band"] * se)
