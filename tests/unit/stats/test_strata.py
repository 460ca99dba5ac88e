"""The band of means over texts of several groups, each resampled by itself."""

import numpy as np
import pytest

from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import SE_FLOOR, simultaneous_band
from laminar_lens.stats.strata import FEWEST, stratified_band
from laminar_lens.stats.streams import stream


def test_it_is_what_a_loop_gives() -> None:
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1], [20, 40]))
    x = rng.normal(size=(60, 3)) * np.where(groups == 0, 3, 1)[:, None] + groups[:, None]
    x[:, 2] = 1.0  # does not vary
    found = stratified_band(x, groups, n_boot=99, seed=4)
    share, parts = np.array([1 / 3, 2 / 3]), [x[groups == one] for one in (0, 1)]
    square = share**2 @ [part.var(axis=0, ddof=1) / len(part) for part in parts]
    draws = stream(4, "bootstrap within groups")
    counts = [draws.multinomial(n, np.full(n, 1 / n), size=99) for n in (20, 40)]
    largest = []
    for row in range(99):
        again = [np.repeat(part, one[row], axis=0) for part, one in zip(parts, counts, strict=True)]
        away = share @ [one.mean(axis=0) for one in again] - x.mean(axis=0)
        se = np.sqrt(share**2 @ [one.var(axis=0, ddof=1) / len(one) for one in again])
        se = np.maximum(se, SE_FLOOR["band"] * np.sqrt(square))
        largest.append(np.abs(away[:2] / se[:2]).max())
    reach = np.quantile(largest, 0.95, method="weibull") * np.sqrt(square)
    assert found.estimate == pytest.approx(x.mean(axis=0))
    assert found.low == pytest.approx(x.mean(axis=0) - reach)
    assert found.high == pytest.approx(x.mean(axis=0) + reach)


def test_of_one_group_it_is_like_the_band_of_all_texts() -> None:
    x = np.random.default_rng(1).normal(size=(80, 2, 3))
    found, other = stratified_band(x, np.zeros(80, int)), simultaneous_band(x)
    assert found.estimate.shape == (2, 3)
    assert found.high - found.low == pytest.approx(other.high - other.low, rel=0.05)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, groups = np.random.default_rng(2).normal(size=(50, 7)), np.repeat([0, 1], 25)
    whole = stratified_band(x, groups)
    monkeypatch.setattr("laminar_lens.stats.strata.BLOCK", 4000)
    assert stratified_band(x, groups).low == pytest.approx(whole.low)


@pytest.mark.parametrize("sizes", [(20, 20), (23, 31), (20, 54, 200)])
def test_equal_values_widen_no_other_band(sizes: tuple[int, ...]) -> None:
    """The mean of 0.1 is not 0.1: what rounding leaves is the same in all texts, and no variance."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    x = np.random.default_rng(4).normal(size=(len(groups), 3))
    alone = stratified_band(x, groups)
    x = np.concatenate([np.full_like(x, 0.1) * [1, 7, np.pi], x], axis=1)
    found = stratified_band(x, groups)
    assert found.high[3:] == pytest.approx(alone.high)
    assert found.high[:3] == pytest.approx(x[0, :3])


def test_few_texts_and_missing_ones() -> None:
    x = np.random.default_rng(3).normal(size=(60, 2))
    x[0, 1] = np.nan
    found = stratified_band(x, np.repeat([0, 1], [FEWEST, 60 - FEWEST]))
    assert np.isfinite(found.low[0])
    assert np.isnan([found.estimate[1], found.low[1]]).all()
    few = stratified_band(x[:, :1], np.repeat([0, 1], [FEWEST - 1, 61 - FEWEST]))
    assert np.isnan(few.low).all()
    assert "19 texts" in few.withheld
    with pytest.raises(InputError, match=r"groups of \[1, 59\] texts"):
        stratified_band(x, np.repeat([0, 1], [1, 59]))
