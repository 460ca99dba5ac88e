"""What leaving out costs: planted biases are covered, none is named where none is, longer texts as they are.

Texts have a level of their own, neighbours share noise, and the first places may be moved. Windows have 64
places; the truth of texts of 512 is known.
"""

import numpy as np

from laminar_lens.stats.bootstrap import simultaneous_band
from laminar_lens.stats.warmup_costs import SPANS, Plan, angle_costs, left_out, vector_costs
from tests.validate.bounds import coverage_ok
from tests.validate.rows import Row

WINDOW = slice(42, 64)
PLAN = Plan(64, WINDOW, SPANS, left_out(WINDOW))
SHIFT = np.array([0.6, 0.3, 0.15])
WIDTH, N_VECTORS = 24, 64
MAX_VECTORS = 600
LEVEL, NOISE = 0.1, 0.3


def texts(seed: int, n: int, width: int = 1, places: int = 64) -> np.ndarray:
    """Values [n place width]."""
    rng = np.random.default_rng([seed, 29])
    noise = rng.normal(size=(n, places + 1, width))
    level = LEVEL * rng.normal(size=(n, 1, width))
    return np.asarray(level + NOISE * (noise[:, :-1] + noise[:, 1:]) / np.sqrt(2))


def vectors(seed: int) -> np.ndarray:
    """The same, longest along the first coordinate, so that there is an axis."""
    return texts(seed, N_VECTORS, WIDTH) * np.r_[3.0, np.linspace(1.2, 0.3, WIDTH - 1)]


def run(seeds: int) -> list[Row]:
    """All checks; those on vectors, which are slow, on at most 600 data sets."""
    few = min(seeds, MAX_VECTORS)
    rows = [_angles(seeds, n) for n in (40, 200)]
    rows += [_nothing(few, row, name) for row, name in enumerate(("mean vector", "first axis"))]
    return [*rows, *_planted(few), _longer(min(seeds, 200))]


def _covers(bias: np.ndarray, truth: np.ndarray, seed: int) -> bool:
    band = simultaneous_band(bias, n_boot=999, seed=seed)
    there = np.isfinite(band.low)
    return bool(((band.low <= truth) & (truth <= band.high))[there].all())


def _covered(check: str, setting: str, hits: int, n: int) -> Row:
    share = f"{hits / n:.1%}"
    return Row(check, setting, "95% band covers in 93–97%", share, n, coverage_ok(hits, n))


def _angles(seeds: int, n: int) -> Row:
    """The bias of every k and T at once."""
    planted = np.zeros(PLAN.places)
    planted[: len(SHIFT)] = SHIFT
    truth = PLAN.contrasts() @ planted
    hits = sum(
        _covers(angle_costs(texts(seed, n)[..., 0] + planted, PLAN).bias, truth, seed)
        for seed in range(seeds)
    )
    return _covered("costs: bias of the mean angle, all k and T", f"{n} texts of 64", hits, seeds)


def _nothing(seeds: int, row: int, name: str) -> Row:
    """Where nothing moves, the band along the chosen directions covers 0."""
    hits = sum(
        _covers(vector_costs(vectors(seed), PLAN)[row].bias, np.zeros(1), seed) for seed in range(seeds)
    )
    return _covered(f"costs: no bias of the {name}, all k and T", f"{N_VECTORS} texts of 64", hits, seeds)


def _planted(seeds: int) -> list[Row]:
    """A first vector ten times as long as others moves the mean, and turns the axis to it."""
    found, moved = [], []
    for seed in range(seeds):
        x = vectors(seed)
        x[:, 0, 5] += 10 * np.sqrt(np.square(x).sum(-1).mean()) * (1 + 0.2 * x[:, 1, 7])
        bands = [simultaneous_band(one.bias, n_boot=999, seed=seed) for one in vector_costs(x, PLAN)]
        found.append([bool((band.low[:3, 0] > 0).all()) for band in bands])
        moved.append([float(band.estimate[0, 0]) for band in bands])
    rows = []
    for column, name in enumerate(("mean vector", "first axis")):
        share, size = np.mean([one[column] for one in found]), np.mean([one[column] for one in moved])
        rows.append(
            Row(
                f"costs: a planted first vector, {name}",
                "ten typical lengths; k = 0, T = 32, 64, 128",
                "shown in ≥ 95%",
                f"{share:.1%} (bias {size:.2f} at T = 32)",
                seeds,
                bool(share >= 0.95),
            )
        )
    return rows


def _longer(seeds: int) -> Row:
    """The standard deviation at T = 512, from windows of 64."""
    truth = np.sqrt(LEVEL**2 + NOISE**2 * (2 * 512 - 1) / 512**2)  # neighbours share half: 2/T less an end
    found = [angle_costs(texts(seed, 400)[..., 0], PLAN).spread.mean(0)[-1, 0] for seed in range(seeds)]
    ratio = float(np.sqrt(np.mean(found)) / truth)
    return Row(
        "costs: standard deviation at T = 512", "400 texts of 64", "97–103% of it", f"{ratio:.1%}", seeds,
        bool(abs(ratio - 1) < 0.03),
    )  # fmt: skip
