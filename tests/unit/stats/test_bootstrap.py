"""Intervals over texts: against independent loops, known answers, and coverage on 20 simulated data sets."""

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats.mstats import hdquantiles

from laminar_lens.errors import InputError
from laminar_lens.stats import bootstrap, intervals, studentised
from laminar_lens.stats.bootstrap import band_or_nothing, mapped, mean_interval, simultaneous_band
from laminar_lens.stats.intervals import (
    iqr_trend_interval,
    mean_shift_interval,
    simultaneous_medians,
    statistic_interval,
)
from tests.validate import intervals as validation

SEEDS = 20


def test_mean_interval_equals_a_loop_over_resamples() -> None:
    x = np.random.default_rng(0).gamma(3.0, size=(24, 3))
    counts = bootstrap.resampling_counts(24, 199, seed=5).astype(int)
    answer = mean_interval(x, n_boot=199, seed=5)
    for column in range(3):
        sample = x[:, column]
        own_se = sample.std(ddof=1) / np.sqrt(24)
        t = []
        for row in counts:
            drawn = np.repeat(sample, row)
            se = max(drawn.std(ddof=1) / np.sqrt(24), bootstrap.SE_FLOOR["mean"] * own_se)
            t.append((drawn.mean() - sample.mean()) / se)
        low_t, high_t = np.quantile(t, [0.025, 0.975], method="weibull")
        assert answer.estimate[column] == pytest.approx(sample.mean(), abs=1e-12)
        assert answer.low[column] == pytest.approx(sample.mean() - own_se * high_t, abs=1e-9)
        assert answer.high[column] == pytest.approx(sample.mean() - own_se * low_t, abs=1e-9)


def test_the_band_is_symmetric_wider_than_each_interval_and_as_wide_as_one_for_one_entry() -> None:
    x = np.random.default_rng(1).normal(size=(54, 6, 5))
    band, single = simultaneous_band(x), mean_interval(x)
    np.testing.assert_allclose(band.high - band.estimate, band.estimate - band.low, atol=1e-12)
    assert ((band.high - band.low) > (single.high - single.low)).all()
    assert band.estimate.shape == (6, 5)


def test_missing_texts_are_dropped_by_entry_and_counted() -> None:
    x = np.random.default_rng(2).normal(size=(60, 3))
    x[:15, 1] = np.nan
    x[:, 2] = np.nan
    answer = mean_interval(x)
    assert answer.n_valid.tolist() == [60, 45, 0]
    assert answer.n == 45
    assert answer.estimate[1] == pytest.approx(x[15:, 1].mean())
    assert np.isnan(answer.estimate[2])
    assert answer.withheld == ""  # what no text has (a rotation in layer 0) has nothing to withhold
    assert np.isnan(answer.low[2])
    x[:10, 2] = 1.0
    assert "1 of 3 entries: 10 texts" in mean_interval(x).withheld
    alone = mean_interval(x[15:, 1])
    assert answer.low[1] == pytest.approx(float(alone.low), abs=0.1)


def test_groups_are_averaged_first() -> None:
    x = np.random.default_rng(3).normal(size=(90, 2))
    x[0, 0] = np.nan
    groups = np.repeat(np.arange(30), 3)
    means = np.stack([np.nanmean(x[groups == g], axis=0) for g in range(30)])
    grouped, direct = mean_interval(x, groups=groups), mean_interval(means)
    assert grouped.n == 30
    np.testing.assert_allclose(grouped.low, direct.low, atol=1e-12)


def test_few_texts_withhold_the_bounds_and_say_why() -> None:
    x = np.random.default_rng(4).normal(size=(12, 2))
    for answer in (mean_interval(x), simultaneous_band(x), statistic_interval("iqr", x)):
        assert np.isfinite(answer.estimate).all()
        assert np.isnan(answer.low).all()
        assert np.isnan(answer.high).all()
        assert "12 texts" in answer.withheld
        assert "\n" not in answer.withheld
    assert simultaneous_band(np.ones((39, 2))).withheld
    assert not simultaneous_band(np.ones((40, 2))).withheld


def test_equal_values_have_an_interval_of_no_length() -> None:
    x = np.full((30, 2), 0.1)
    for answer in (mean_interval(x), simultaneous_band(np.full((50, 2), 0.1))):
        np.testing.assert_array_equal(answer.low, answer.high)
        np.testing.assert_allclose(answer.estimate, 0.1)
    spread = statistic_interval("iqr", x)
    assert spread.estimate.tolist() == [0.0, 0.0]
    assert spread.high.tolist() == [0.0, 0.0]


def test_the_same_seed_gives_the_same_numbers_and_the_input_is_left_alone() -> None:
    x = np.random.default_rng(5).normal(size=(40, 4))
    before = x.copy()
    first, second, other = (mean_interval(x, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.low, second.low)
    assert (first.low != other.low).any()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: mean_interval(np.zeros((1, 3))), "at least 2"),
        (lambda: mean_interval(np.array(3.0)), "axis 0"),
        (lambda: mean_interval(np.zeros((5, 2)), level=95.0), "level=95"),
        (lambda: mean_interval(np.zeros((5, 2)), n_boot=10), "n_boot=10"),
        (lambda: mean_interval(np.zeros((5, 2)), groups=np.arange(4)), "one label a text"),
        (lambda: statistic_interval("mode", np.zeros((5, 2))), "'mode'"),
        (lambda: statistic_interval("iqr_ratio", np.zeros((5, 2))), "two samples"),
        (lambda: statistic_interval("iqr", np.zeros((5, 2)), np.zeros((5, 2))), "one sample"),
        (lambda: statistic_interval("iqr_ratio", np.zeros((5, 2)), np.zeros((5, 3))), "(5, 3)"),
        (lambda: iqr_trend_interval(np.zeros((5, 1))), "at least 2"),
        (lambda: mean_shift_interval(np.zeros(5), np.ones(5, dtype=bool)), "nothing remains"),
    ],
)
def test_bad_input_is_one_line_with_the_value(call, says) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_quantiles_are_harrell_davis_and_leaving_one_out_is_exact() -> None:
    x = np.random.default_rng(6).gamma(2.0, size=31)
    counts = np.vstack([np.ones(31), bootstrap.resampling_counts(31, 5, seed=1)])
    for part in ("0.25", "0.5", "0.75"):
        value, left_out = studentised.resampled_part(x, counts, part)
        for row, weights in enumerate(counts.astype(int)):
            drawn = np.repeat(x, weights)
            assert value[row] == pytest.approx(float(hdquantiles(drawn, [float(part)])[0]), abs=1e-10)
            for text in np.flatnonzero(weights)[:6]:
                fewer = weights.copy()
                fewer[text] -= 1
                expected = float(hdquantiles(np.repeat(x, fewer), [float(part)])[0])
                assert left_out[row, text] == pytest.approx(expected, abs=1e-10)


def test_the_standard_error_of_a_shift_is_its_jackknife_to_first_order() -> None:
    rng = np.random.default_rng(7)
    first = rng.random(300) < 0.3
    x = rng.normal(size=300) + 1.5 * first
    shift, se = intervals._mean_shift(x[:, None], np.ones((300, 1), dtype=bool), first, np.ones((1, 300)))
    assert shift[0, 0] == pytest.approx(x.mean() - x[~first].mean(), abs=1e-12)
    keep = ~np.eye(300, dtype=bool)
    left_out = np.array([x[k].mean() - x[k & ~first].mean() for k in keep])
    jackknife = np.sqrt(299 / 300 * ((left_out - left_out.mean()) ** 2).sum())
    assert se[0, 0] == pytest.approx(jackknife, rel=0.01)


def test_a_shift_needs_texts_on_both_sides() -> None:
    x, first = np.random.default_rng(8).normal(size=54), np.arange(54) < 3
    answer = mean_shift_interval(x, first)
    assert np.isfinite(answer.estimate)
    assert np.isnan(answer.low)
    assert "3 texts on one side" in answer.withheld


def test_ratio_trend_and_shift_have_the_planted_values() -> None:
    x = np.random.default_rng(9).normal(1.0, 0.05, size=(400, 3))
    ratio = statistic_interval("iqr_ratio", 6 * x, x[:, ::-1])
    np.testing.assert_allclose(ratio.estimate, 6.0, rtol=0.2)
    assert ((ratio.low < 6.0 + 1e-9) & (ratio.high > 6.0 - 1e-9)).all()
    assert (ratio.low > 4.0).all()
    trend = iqr_trend_interval(
        np.random.default_rng(1).normal(size=(100, 4)) * np.array([1.0, 2.0, 3.0, 4.0])
    )
    assert trend.estimate == pytest.approx(1.35, abs=0.4)
    assert trend.low > 0
    without_spread = statistic_interval("iqr_ratio", x, np.ones_like(x))
    assert np.isnan(without_spread.estimate).all()


def test_quantile_intervals_use_calibrated_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(10).normal(size=(54, 3))
    calls = (
        lambda level: statistic_interval("iqr", x, level=level, n_boot=199),
        lambda level: statistic_interval("iqr_ratio", x, x[:, ::-1], level=level, n_boot=199),
        lambda level: iqr_trend_interval(x, level=level, n_boot=199),
    )
    calibrated = [call(0.95) for call in calls]
    monkeypatch.setattr(intervals, "QUANTILE_TAIL", 1.0)
    for call, expected in zip(calls, calibrated, strict=True):
        answer = call(1 - 0.85 * 0.05)
        np.testing.assert_allclose((answer.low, answer.high), (expected.low, expected.high), atol=1e-12)


def test_a_median_lies_between_two_order_statistics() -> None:
    x = np.random.default_rng(11).exponential(size=(30, 4))
    x[:5, 1], x[:, 3] = np.nan, np.nan
    answer = simultaneous_medians(x)
    for column, n in ((0, 30), (1, 25), (2, 30)):
        sample = np.sort(x[:, column])[:n]
        assert answer.estimate[column] == pytest.approx(np.median(sample))
        missed = 0.05 / 2 / 4  # on each side, divided among four entries
        rank = max(k for k in range(1, n // 2) if binomtest(k - 1, n, alternative="less").pvalue <= missed)
        assert (answer.low[column], answer.high[column]) == (sample[rank - 1], sample[n - rank])
    assert np.isnan([answer.estimate[3], answer.low[3], answer.high[3]]).all()
    assert np.isnan(simultaneous_medians(x[:19, [0]]).low).all()


def test_coverage_is_compatible_with_the_requirement() -> None:
    failed = [row for row in validation.run(SEEDS) if not row.ok]
    assert not failed, failed


@pytest.mark.parametrize("groups", [None, np.zeros(50, int)])
def test_a_band_of_no_two_observations_has_no_numbers(groups) -> None:
    x = np.random.default_rng(4).normal(size=(50, 3))
    if groups is None:
        x[1:] = np.nan
    with pytest.raises(InputError, match="needs at least 2"):
        simultaneous_band(x, groups=groups)
    found = band_or_nothing(x, groups=groups)
    assert np.isnan([found.estimate, found.low, found.high]).all()
    assert found.estimate.shape == (3,)
    assert found.withheld == "fewer than 2 texts have a value"
    assert band_or_nothing(np.empty((5, 2, 0))).estimate.shape == (2, 0)
    with pytest.raises(InputError, match="give one label a text"):
        band_or_nothing(np.ones((3, 2)), groups=np.zeros(4))


def test_a_band_of_observations_is_the_band() -> None:
    x = np.random.default_rng(5).normal(size=(60, 4))
    one, other = simultaneous_band(x, seed=3), band_or_nothing(x, seed=3)
    np.testing.assert_array_equal([one.low, one.high], [other.low, other.high])


def test_the_exponential_of_one_interval_is_one() -> None:
    found = mean_interval(np.log(np.random.default_rng(6).uniform(1, 2, size=40)))
    of = mapped(np.exp, found)
    np.testing.assert_allclose(
        [of.estimate, of.low, of.high], np.exp([found.estimate, found.low, found.high])
    )
    assert of.estimate.shape == ()
