"""Whether a cause depends on the place: the line's band covers the truth, a slope is found, none is not."""

import numpy as np

from laminar_lens.stats.why_places import EFFECTS, Trend, place_trend
from tests.validate.bounds import coverage_ok, least_hits, rejections_range
from tests.validate.rows import Row

TEXTS = (120, 400)
PLACES = np.arange(42, 63)
SLOPE = 0.008
"""Radians a token: 0.16 over all places."""
MEANS = {"E11": -0.3, "E10": -0.2, "E01": 0.0}


def run(seeds: int) -> list[Row]:
    """Skewed effects of texts that share a part in twos, more scattered at later places."""
    rows = []
    for n in TEXTS:
        flat = [trend(n, 0.0, seed) for seed in range(seeds)]
        steep = [trend(n, SLOPE, seed) for seed in range(seeds)]
        covered = sum(_covers(one, 0.0) for one in flat) + sum(_covers(one, SLOPE) for one in steep)
        found = sum("E10" in one.shown for one in steep)
        false = sum(bool(one.shown) for one in flat)
        setting = f"{n} texts in twos, scatter grows by half"
        needed = least_hits(seeds, 0.95)
        most = rejections_range(seeds, 0.05)[1]
        rows.append(Row("no change is named", setting, f"in ≤ {most}", str(false), seeds, false <= most))
        share, wanted = covered / (2 * seeds), "all three effects in 93–97%"
        enough = coverage_ok(covered, 2 * seeds)
        rows.append(Row("interval of the change covers", setting, wanted, f"{share:.1%}", 2 * seeds, enough))
        if n == max(TEXTS):
            named = f"E10 named in ≥ {needed}"
            rows.append(Row(f"slope of {SLOPE:g}", setting, named, str(found), seeds, found >= needed))
    return rows


def trend(n: int, slope: float, seed: int) -> Trend:
    """The trend of one simulated study; E10 has the slope."""
    rng = np.random.default_rng([7, n, seed, int(slope > 0)])
    at = rng.permutation(np.resize(PLACES, n))
    units = np.repeat(np.arange(n // 2), 2)
    spread = 1 + 0.5 * (at - PLACES[0]) / (PLACES[-1] - PLACES[0])

    def noise() -> np.ndarray:
        own = rng.gamma(2, 0.06, n) - 0.12
        return np.asarray((0.05 * rng.standard_normal(n // 2)[units] + own) * spread)

    values = {name: mean + noise() for name, mean in MEANS.items()}
    values["E10"] = values["E10"] + slope * (at - PLACES.mean())
    found = place_trend(values, at, units=units, seed=seed)
    assert found is not None
    return found


def _covers(found: Trend, slope: float) -> bool:
    truth = np.zeros(len(EFFECTS))
    truth[EFFECTS.index("E10")] = slope * (PLACES[-1] - PLACES[0])
    return bool(((found.change.low <= truth) & (truth <= found.change.high)).all())
