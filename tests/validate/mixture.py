"""Two modes are found where they are planted and nowhere else; attribution names the position."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from laminar_lens.stats.mixture import Attribution, attribute, two_modes_by_layer
from tests.validate.bounds import least_hits, rejections_range
from tests.validate.rows import Row

BLOCK = 250  # data sets that share the simulated one-mode samples
NULL_SETS = 500
LEVELS = (0.01, 0.05, 0.10)
MODES, SD = (1.25, 2.75), 0.1
Draw = Callable[[np.random.Generator, int], np.ndarray]
ONE_MODE: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "skew-normal (shape 4)": lambda rng, n: stats.skewnorm(4).rvs(n, random_state=rng),
    "skew-normal (shape 20)": lambda rng, n: stats.skewnorm(20).rvs(n, random_state=rng),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "t, 3 degrees of freedom": lambda rng, n: rng.standard_t(3, size=n),
    "t, 5 degrees of freedom": lambda rng, n: rng.standard_t(5, size=n),
}


def run(seeds: int) -> list[Row]:
    """Planted modes 1.25 and 2.75, one-mode shapes, attribution of position 0, shuffled labels."""
    rows = []
    for n, weights in ((20, (0.2, 0.35, 0.5)), (54, (0.1, 0.2, 0.35, 0.5)), (200, (0.1, 0.2, 0.35, 0.5))):
        rows += [_positive(n, weight, seeds) for weight in weights]
    rows += [_negative(n, name, seeds) for n in (20, 54, 200) for name in ONE_MODE]
    rows += [_attributed(0.0, seeds), _attributed(0.05, seeds), _shuffled(seeds)]
    return rows + _levels(min(seeds, NULL_SETS))


def _found(draw: Draw, n: int, seeds: int, stream: int) -> int:
    found = 0
    for start in range(0, seeds, BLOCK):
        sets = range(start, min(start + BLOCK, seeds))
        samples = np.stack([draw(np.random.default_rng([stream, n, seed]), n) for seed in sets], axis=1)
        found += sum(answer.has_two for answer in two_modes_by_layer(samples, seed=start))
    return found


def _positive(n: int, weight: float, seeds: int) -> Row:
    upper = round(weight * n)

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        means = np.where(np.arange(size) < upper, MODES[1], MODES[0])
        return rng.permutation(rng.normal(means, SD))

    found, needed = _found(draw, n, seeds, 7), least_hits(seeds, 0.95)
    setting = f"{n} texts, {upper} of them in the upper mode (weight {weight:g})"
    return Row("two modes: planted", setting, f"found in ≥ {needed}", str(found), seeds, found >= needed)


def _negative(n: int, name: str, seeds: int) -> Row:
    silent, needed = seeds - _found(ONE_MODE[name], n, seeds, 8), least_hits(seeds, 0.95)
    return Row(
        "two modes: one-mode shape",
        f"{n} texts, {name}",
        f"silent in ≥ {needed}",
        str(silent),
        seeds,
        silent >= needed,
    )


def _pairs(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two distinct positions a text, as the published baseline draws them, in texts of 5 to 24 tokens."""
    return np.stack([np.sort(rng.choice(rng.integers(5, 25), size=2, replace=False)) for _ in range(n)])


def _attributed(noise: float, seeds: int) -> Row:
    right = 0
    for seed in range(seeds):
        rng = np.random.default_rng([9, seed])
        pairs = _pairs(rng, 54)
        upper = (pairs == 0).any(axis=1) ^ (rng.random(54) < noise)
        answer = attribute(upper, pairs, seed=seed)
        exact = noise > 0 or (answer.precision, answer.recall) == (1.0, 1.0)
        right += int(answer.position == 0 and exact)
    needed = least_hits(seeds, 0.95)
    setting = f"54 texts, upper = contains position 0, {noise:.0%} of labels flipped"
    return Row(
        "attribution: planted", setting, f"position 0 in ≥ {needed}", str(right), seeds, right >= needed
    )


def _null(seed: int) -> Attribution:
    rng = np.random.default_rng([10, seed])
    pairs = _pairs(rng, 54)
    return attribute(rng.permutation((pairs == 0).any(axis=1)), pairs, seed=seed)


def _levels(n_sets: int) -> list[Row]:
    """Rejections by attribution's p on true nulls; its few values reject less often than they may."""
    p = np.array([_null(seed).p for seed in range(n_sets)])
    rows = []
    for level in LEVELS:
        most, rejected = rejections_range(n_sets, level)[1], int((p <= level).sum())
        rows.append(
            Row(
                "attribution: p on a true null",
                f"54 texts, shuffled labels, level {level:g}",
                f"at most {most} rejections",
                f"{rejected} rejections",
                n_sets,
                rejected <= most,
            )
        )
    return rows


def _shuffled(seeds: int) -> Row:
    silent = sum(_null(seed).position is None for seed in range(seeds))
    needed = least_hits(seeds, 0.95)
    return Row(
        "attribution: shuffled labels",
        "54 texts",
        f"none in ≥ {needed}",
        str(silent),
        seeds,
        silent >= needed,
    )
