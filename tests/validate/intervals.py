"""Coverage of the intervals over texts."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from laminar_lens.stats import bootstrap, intervals
from tests.validate.bounds import FULL, coverage_ok
from tests.validate.rows import Row

SIZES = (20, 54, 200)
TOGETHER = 25  # data sets that share their resampling counts: their data stay independent
FACTOR = 1.3  # the second sample of a comparison is this much larger
W_FIRST = 0.36  # share of the published protocol's baseline pairs that contain position 0
SHAPES: dict[str, Any] = {
    "normal": stats.norm(1.25, 0.2),
    "π·beta(2, 8)": stats.beta(2, 8, scale=np.pi),
    "gamma(2)": stats.gamma(2),
}
Answer = tuple[bootstrap.Interval, float]
Case = Callable[[np.ndarray, np.ndarray, Any, int, int], Answer]


def _mean(x: np.ndarray, y: np.ndarray, shape: Any, n_boot: int, seed: int) -> Answer:
    return bootstrap.mean_interval(x, n_boot=n_boot, seed=seed), shape.mean()


def _difference(x: np.ndarray, y: np.ndarray, shape: Any, n_boot: int, seed: int) -> Answer:
    return bootstrap.mean_interval(x - y, n_boot=n_boot, seed=seed), shape.mean() * (1 - FACTOR)


def _named(name: str, truth: Callable[[Any], float]) -> Case:
    def case(x: np.ndarray, y: np.ndarray, shape: Any, n_boot: int, seed: int) -> Answer:
        second = y if intervals.STATISTICS[name] == 2 else None
        return intervals.statistic_interval(name, x, second, n_boot=n_boot, seed=seed), truth(shape)

    return case


def _iqr(shape: Any) -> float:
    return float(shape.ppf(0.75) - shape.ppf(0.25))


CASES: dict[str, tuple[Case, tuple[str, ...]]] = {
    "mean": (_mean, tuple(SHAPES)),
    "difference of means": (_difference, ("normal", "π·beta(2, 8)")),
    "interquartile range": (_named("iqr", _iqr), ("normal", "π·beta(2, 8)")),
    "ratio of interquartile ranges": (_named("iqr_ratio", lambda _: 1 / FACTOR), ("normal", "π·beta(2, 8)")),
}


def run(seeds: int) -> list[Row]:
    """Coverage of every interval at 20, 54 and 200 texts; where it is withheld, that it is."""
    rows = []
    for name, (case, shapes) in CASES.items():
        for shape in shapes:
            rows += [_pointwise(name, case, shape, n, seeds) for n in SIZES]
    rows += [_shift(n, seeds) for n in SIZES]
    rows += [_trend(n, seeds) for n in SIZES]
    for shape in SHAPES:
        rows += [_band(shape, layers, n, seeds) for layers in (13, 49) for n in (20, 40, 54, 200)]
    rows += [_medians(layers, n, seeds) for layers in (1, 13, 49) for n in SIZES]
    return rows


def _row(name: str, setting: str, hits: int, seeds: int, withheld: str) -> Row:
    if withheld:
        return Row(name, setting, "withheld, with the reason", withheld, seeds, True)
    measured = f"{100 * hits / seeds:.1f}%"
    return Row(name, setting, "95% interval covers in 93–97%", measured, seeds, coverage_ok(hits, seeds))


def _correlated(rng: np.random.Generator, shape: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = rng.normal(size=(2, n))
    other = 0.5 * first + np.sqrt(0.75) * second
    return shape.ppf(stats.norm.cdf(first)), FACTOR * shape.ppf(stats.norm.cdf(other))


def _n_boot(n: int, seeds: int) -> int:
    """Resamples: fewer for large samples, and for few data sets, where they are not what limits the check."""
    if seeds < FULL:
        return 199
    return 299 if n >= 200 else 499


def _pointwise(name: str, case: Case, shape_name: str, n: int, seeds: int) -> Row:
    shape, hits, withheld = SHAPES[shape_name], 0, ""
    for start in range(0, seeds, TOGETHER):
        sets = range(start, min(start + TOGETHER, seeds))
        data = [_correlated(np.random.default_rng([1, n, seed]), shape, n) for seed in sets]
        x, y = (np.stack([pair[k] for pair in data], axis=1) for k in range(2))
        interval, truth = case(x, y, shape, _n_boot(n, seeds), start)
        hits += int(((interval.low <= truth) & (truth <= interval.high)).sum())
        withheld = interval.withheld
    return _row(f"interval: {name}", f"{n} texts, {shape_name}", hits, seeds, withheld)


def _shift(n: int, seeds: int) -> Row:
    hits = used = 0
    for seed in range(seeds):
        rng = np.random.default_rng([2, n, seed])
        first = rng.random(n) < W_FIRST
        x = rng.normal(1.25, 0.1, n) + 1.5 * first
        interval = intervals.mean_shift_interval(x, first, n_boot=_n_boot(n, seeds), seed=seed)
        if not interval.withheld:
            used += 1
            hits += int(interval.low <= 1.5 * W_FIRST <= interval.high)
    setting = f"{n} texts, modes 1.25/2.75, {W_FIRST:.0%} of pairs contain position 0"
    if used < seeds and n >= intervals.MIN_SHIFT:
        setting += f"; withheld in {seeds - used} sets with fewer than {intervals.MIN_SIDE} such pairs"
    if n < intervals.MIN_SHIFT:
        return _row("interval: shift of the mean", setting, 0, seeds, interval.withheld)
    return _row("interval: shift of the mean", setting, hits, used, "")


def _trend(n: int, seeds: int) -> Row:
    layers, shape, hits, withheld = 4, SHAPES["π·beta(2, 8)"], 0, ""
    scale = np.linspace(1, 2, layers)
    truth = _iqr(shape) / (layers - 1)
    for seed in range(seeds):
        rng = np.random.default_rng([3, n, seed])
        latent = 0.8 * rng.normal(size=(n, 1)) + 0.6 * rng.normal(size=(n, layers))
        x = shape.ppf(stats.norm.cdf(latent)) * scale
        interval = intervals.iqr_trend_interval(x, n_boot=_n_boot(n, seeds), seed=seed)
        hits += int(interval.low <= truth <= interval.high)
        withheld = interval.withheld
    return _row("interval: trend of the interquartile range", f"{n} texts, 4 layers", hits, seeds, withheld)


def _band(shape_name: str, layers: int, n: int, seeds: int) -> Row:
    shape, hits, withheld = SHAPES[shape_name], 0, ""
    for seed in range(seeds):
        rng = np.random.default_rng([4, n, layers, seed])
        latent = 0.7 * rng.normal(size=(n, 1)) + np.sqrt(0.51) * rng.normal(size=(n, layers))
        x = latent if shape_name == "normal" else shape.ppf(stats.norm.cdf(latent))
        truth = 0.0 if shape_name == "normal" else shape.mean()
        band = bootstrap.simultaneous_band(x, n_boot=_n_boot(n, seeds), seed=seed)
        hits += int(((band.low <= truth) & (truth <= band.high)).all())
        withheld = band.withheld
        if withheld:
            seeds = seed + 1
            break
    return _row(
        "simultaneous band", f"{n} texts, {layers} correlated layers, {shape_name}", hits, seeds, withheld
    )


def _medians(layers: int, n: int, seeds: int) -> Row:
    """Medians of two modes (upper weight 0.36): between order statistics, so covered at least as often."""
    upper = stats.norm(2.75, 0.1)
    lower = stats.norm(1.25, 0.1)
    truth = float(lower.ppf(0.5 / (1 - W_FIRST)))  # the upper mode has next to nothing below it
    hits = 0
    for seed in range(seeds):
        rng = np.random.default_rng([11, n, layers, seed])
        first = rng.random((n, 1)) < W_FIRST
        noise = 0.7 * rng.normal(size=(n, 1)) + np.sqrt(0.51) * rng.normal(size=(n, layers))
        band = intervals.simultaneous_medians(np.where(first, upper.mean(), lower.mean()) + 0.1 * noise)
        hits += int(((band.low <= truth) & (truth <= band.high)).all())
    return Row(
        "simultaneous medians",
        f"{n} texts, {layers} correlated layers, modes 1.25/2.75",
        "95% intervals cover all in ≥ 93%",
        f"{100 * hits / seeds:.1f}%",
        seeds,
        coverage_ok(hits, seeds, high=1.0),
    )
