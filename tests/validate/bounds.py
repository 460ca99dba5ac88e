"""When a measured share of data sets meets its requirement.

At the full number of data sets the requirement itself is the bound. With few (the test suite runs 20), a
bound that a method exactly at the requirement would break less than once in a thousand.
"""

from scipy.stats import binom

FULL = 500
FALSE_ALARM = 1e-3


def least_hits(n: int, share: float) -> int:
    """The fewest hits of n that still pass for "found in at least `share`"."""
    if n >= FULL:
        return int(-(-share * n // 1))
    return int(binom.ppf(FALSE_ALARM, n, share))


def coverage_ok(hits: int, n: int, low: float = 0.93, high: float = 0.97) -> bool:
    """Whether coverage lies in [low, high], or, with few data sets, is compatible with it."""
    if n >= FULL:
        return low <= hits / n <= high
    return bool(binom.cdf(hits, n, low) > FALSE_ALARM and binom.sf(hits - 1, n, high) > FALSE_ALARM)


def rejections_range(n: int, level: float) -> tuple[int, int]:
    """The binomial 99% range of rejections of n true nulls (99.9% with few data sets)."""
    low, high = binom.interval(0.99 if n >= FULL else 0.999, n, level)
    return int(low), int(high)
