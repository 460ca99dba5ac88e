"""The trend along the places: a known line is found, none is not, texts of a unit are one observation."""

import numpy as np
import pytest

from laminar_lens.stats.why_places import EFFECTS, place_trend
from tests.validate import places as validation

PLACES = np.arange(42, 63)


def simulated(
    seed: int, slope: float, *, n: int = 200
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Skewed effects of texts that share a part in twos, more scattered at later places; E10 has a slope."""
    rng = np.random.default_rng(seed)
    at = rng.permutation(np.resize(PLACES, n))
    units = np.repeat(np.arange(n // 2), 2)
    spread = 1 + 0.5 * (at - PLACES[0]) / 20

    def noise() -> np.ndarray:
        own = rng.gamma(2, 0.06, n) - 0.12
        return np.asarray((0.05 * rng.standard_normal(n // 2)[units] + own) * spread)

    means = {"E11": -0.3, "E10": -0.2, "E01": 0.0}
    values = {name: mean + noise() for name, mean in means.items()}
    values["E10"] = values["E10"] + slope * (at - PLACES.mean())
    return values, at, units


def test_a_line_without_noise_is_itself() -> None:
    at = np.repeat(PLACES, 4)
    values = {name: (row - 0.5) + 0.01 * row * (at - 42.0) for row, name in enumerate(EFFECTS)}
    trend = place_trend(values, at)
    assert trend is not None
    for row, name in enumerate(EFFECTS):
        own = row - 0.5 + 0.01 * row * (PLACES - 42)
        np.testing.assert_allclose(trend.mean[row], own, atol=1e-12)
        np.testing.assert_allclose(trend.line.estimate[row], own, atol=1e-12, err_msg=name)
        assert trend.change.estimate[row] == pytest.approx(0.2 * row, abs=1e-12)


def test_the_line_is_least_squares() -> None:
    values, at, _ = simulated(1, -0.004)
    trend = place_trend(values, at)
    assert trend is not None
    for row, name in enumerate(EFFECTS):
        own = np.polyval(np.polyfit(at, values[name], 1), PLACES)
        np.testing.assert_allclose(trend.line.estimate[row], own, atol=1e-9)


def test_units_and_groups_weigh_alike() -> None:
    """Least squares with the weights of a mean over units of means over groups."""
    values, at, _ = simulated(2, -0.004)
    groups = np.where(np.arange(200) < 80, 0, np.arange(200))
    units = np.where(np.arange(200) < 110, 0, np.arange(200) // 2)
    trend = place_trend(values, at, groups=groups, units=units)
    assert trend is not None
    n_groups = {u: len(np.unique(groups[units == u])) for u in np.unique(units)}
    share = [1 / n_groups[u] / (groups[units == u] == g).sum() for u, g in zip(units, groups, strict=True)]
    for row, name in enumerate(EFFECTS):
        own = np.polyval(np.polyfit(at, values[name], 1, w=np.sqrt(share)), PLACES)
        np.testing.assert_allclose(trend.line.estimate[row], own, atol=1e-9)
    everywhere = place_trend(values, at, places=np.arange(40, 64))
    assert everywhere is not None
    assert np.isnan(everywhere.mean[:, 0]).all()
    assert np.isfinite(everywhere.line.estimate).all()


def test_a_slope_is_found_and_none_is_not() -> None:
    found = silent = 0
    seeds = 100
    for seed in range(seeds):
        values, at, units = simulated(seed, -0.01)
        trend = place_trend(values, at, units=units, seed=seed)
        assert trend is not None
        found += trend.shown == ["E10"]
        values, at, units = simulated(1000 + seed, 0.0)
        trend = place_trend(values, at, units=units, seed=seed)
        assert trend is not None
        silent += not ((trend.change.low > 0) | (trend.change.high < 0)).any()
    assert found >= 0.9 * seeds
    assert silent >= 0.91 * seeds


def test_some_of_the_validation() -> None:
    """Twenty data sets of each; `make validate` measures all."""
    assert [row for row in validation.run(20) if not row.ok] == []


def test_a_change_below_tau_is_none() -> None:
    values, at, units = simulated(0, -0.01)
    for tau, shown in ((0.05, ["E10"]), (0.5, [])):
        trend = place_trend(values, at, units=units, tau=tau)
        assert trend is not None
        assert trend.shown == shown


def test_one_place_few_texts_and_no_positions() -> None:
    values, at, _ = simulated(0, -0.01)
    assert place_trend(values, np.full_like(at, 50)) is None
    few = {name: x[:20] for name, x in values.items()}
    trend = place_trend(few, at[:20])
    assert trend is not None
    assert trend.shown == []
    assert trend.line.withheld
    rotary = {**values, "E01": np.full(len(at), np.nan)}
    trend = place_trend(rotary, at)
    assert trend is not None
    assert trend.shown == ["E10"]
    assert np.isnan(trend.line.estimate[2]).all()
