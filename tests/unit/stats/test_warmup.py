"""The three-valued warm-up answer, its power and its shape; sink tokens by vector."""

import re
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student_t

from laminar_lens.errors import InputError, ShapeError
from laminar_lens.stats.sinks import both_sinks, sink_tokens
from laminar_lens.stats.warmup import (
    MIN_SHOWN,
    TOLERANCES,
    Answer,
    check_tau,
    contrast,
    encode,
    independent_texts,
    reference_pairs,
    warmup,
)
from laminar_lens.stats.warmup_power import MIN_TEXTS, Deciding
from laminar_lens.stats.warmup_shape import (
    effects,
    shape,
    share_affected,
)
from tests.validate import warmup as simulated


def texts(*args: Any, **settings: Any) -> np.ndarray:
    return simulated.texts(*args, **settings)


class TestAnswer:
    @pytest.mark.parametrize("k", [0, 1, 3])
    @pytest.mark.parametrize("size", [0.5, -0.5])
    def test_step_is_found(self, seed: int, k: int, size: float) -> None:
        answer = warmup(texts(seed, 300, sd=0.1, layers=2, delta=simulated.first(k, size)), seed=seed)
        sign = "none" if k == 0 else "wider" if size > 0 else "narrower"
        assert answer.overall == Answer("exact", k, k, None, sign)
        assert answer.overall.skip == k
        assert all(layer == answer.overall for layer in answer.layers)

    def test_overall_needs_every_layer(self, seed: int) -> None:
        delta = np.stack([simulated.first(k, size) for k, size in ((0, 0.0), (2, 0.4), (1, -0.4))])
        answer = warmup(texts(seed, 300, sd=0.1, layers=3, delta=delta), seed=seed)
        assert [layer.skip for layer in answer.layers] == [0, 2, 1]
        assert [layer.sign for layer in answer.layers] == ["none", "wider", "narrower"]
        assert (answer.overall.skip, answer.overall.sign) == (2, "mixed")

    def test_the_curve_is_the_answer_at_every_tolerance(self, seed: int) -> None:
        delta = np.stack([simulated.first(3, 0.18), simulated.first(1, 0.08)])
        theta = texts(seed, 300, sd=0.1, layers=2, delta=delta)
        found = warmup(theta, tau=0.04, seed=seed)
        assert found.tolerances.tolist() == sorted([*TOLERANCES, 0.04])
        for tau, row in zip(found.tolerances.tolist(), found.curve, strict=True):
            own = warmup(theta, tau=tau, seed=seed)
            right = [(one.k_lo, one.k_hi) for one in (*own.layers, own.overall)]
            assert [(one.k_lo, one.k_hi) for one in row] == right, tau
        assert {row[-1].k_hi for row in found.curve} >= {0, 3, None}

    def test_signs_that_change_along_positions_are_mixed(self, seed: int) -> None:
        delta = np.where(np.arange(24) == 0, 0.4, np.where(np.arange(24) == 1, -0.4, 0.0))
        assert warmup(texts(seed, 300, sd=0.1, delta=delta), seed=seed).layers[0].sign == "mixed"

    def test_few_texts_are_never_enough_to_say_that_nothing_is_there(self, seed: int) -> None:
        """Even where angles hardly scatter, and Student's interval would do."""
        few, enough = (warmup(texts(seed, n, sd=1e-3), seed=seed) for n in (MIN_TEXTS - 1, MIN_TEXTS))
        assert few.overall.verdict == "undetermined"
        assert few.overall.k_hi is None
        assert few.overall.skip is None
        assert few.overall.n_needed is not None
        assert enough.overall.skip == 0

    def test_few_texts_can_still_show_a_lower_bound(self, seed: int) -> None:
        answer = warmup(texts(seed, MIN_SHOWN, sd=0.1, delta=simulated.first(1, 1.0)), seed=seed).overall
        assert (answer.verdict, answer.k_lo, answer.k_hi, answer.sign) == ("undetermined", 1, None, "wider")

    def test_what_is_not_shown_beside_the_reference_is_not_drift(self, seed: int) -> None:
        near = np.where(np.arange(24) == 15, 0.06, 0.0)
        unclear = warmup(texts(seed, MIN_TEXTS, sd=0.2, delta=near), seed=seed).overall
        assert (unclear.verdict, unclear.k_hi) == ("undetermined", None)
        clear = warmup(texts(seed, 400, sd=0.1, delta=3 * near), seed=seed).overall
        assert clear == Answer("drift", None, None, None, "wider")

    def test_reference_pairs_have_a_curve_and_no_interval(self, seed: int) -> None:
        answer = warmup(texts(seed, 50, sd=0.1), seed=seed)
        assert answer.reference == (16, 24)
        assert np.isfinite(answer.delta).all()
        np.testing.assert_allclose(answer.delta[:, 16:].mean(), 0, atol=1e-12)
        for curve in (answer.low90, answer.high90, answer.band_low, answer.band_high):
            assert np.isnan(curve[:, 16:]).all()
            assert np.isfinite(curve[:, :16]).all()
        assert (answer.band_low < answer.low90)[:, :16].all()

    def test_identical_angles_give_an_answer_without_warnings(self) -> None:
        answer = warmup(np.full((MIN_TEXTS, 2, 12), 1.2))
        assert answer.overall.skip == 0

    def test_same_seed_same_bytes(self, seed: int) -> None:
        theta = texts(seed, 60, sd=0.2)
        first, again, other = (warmup(theta, seed=s) for s in (seed, seed, seed + 1))
        np.testing.assert_array_equal(first.band_low, again.band_low)
        assert not np.array_equal(first.band_low, other.band_low, equal_nan=True)

    def test_input_is_not_changed(self, seed: int) -> None:
        theta = texts(seed, 40, sd=0.1)
        before = theta.copy()
        warmup(theta)
        np.testing.assert_array_equal(theta, before)


class TestFewTexts:
    @pytest.mark.parametrize("n", [2, 3, MIN_SHOWN - 1])
    @pytest.mark.parametrize("size", [0.0, 3.0])
    def test_below_forty_nothing_is_shown(self, seed: int, n: int, size: float) -> None:
        """Every resample of two texts has t = 0: a band of no width would show any difference."""
        for data in range(seed, seed + 10):
            theta = texts(data, n, sd=0.3, layers=2, delta=simulated.first(16, size))
            answer = warmup(theta, seed=data)
            assert (answer.overall.verdict, answer.overall.k_lo, answer.overall.k_hi) == (
                "undetermined",
                0,
                None,
            )
            assert answer.overall.sign == "none"
            assert answer.overall.n_needed is None or answer.overall.n_needed >= MIN_TEXTS
            assert np.isnan([answer.band_low, answer.band_high]).all()
            assert np.isfinite(answer.low90[:, :16]).all()

    def test_a_huge_difference_is_shown_from_forty_texts_on(self, seed: int) -> None:
        answer = warmup(texts(seed, MIN_SHOWN, sd=0.3, delta=simulated.first(1, 3.0)), seed=seed)
        assert (answer.overall.k_lo, answer.overall.sign) == (1, "wider")
        assert np.isfinite(answer.band_low[:, :16]).all()

    def test_two_books_of_many_windows_are_two_texts(self, seed: int) -> None:
        answer = warmup(texts(seed, 60, sd=0.3), groups=np.repeat([0, 1], 30), seed=seed).overall
        assert (answer.verdict, answer.k_lo, answer.k_hi) == ("undetermined", 0, None)


class TestBounds:
    """Each bound on data that lie between it and the next best one."""

    def angles(self, first: np.ndarray) -> np.ndarray:
        """Texts that differ in the first pair only, by these."""
        theta = np.full((len(first), 1, 24), 1.2)
        theta[:, 0, 0] += first
        return theta

    def scatter(self, n: int, mean: float, error: float, seed: int) -> np.ndarray:
        """Symmetric, of exactly this mean and standard error."""
        half = np.random.default_rng(seed).standard_normal(n // 2)
        x = np.r_[half, -half]
        return mean + error * np.sqrt(n) * x / x.std(ddof=1)

    def test_equivalence_is_tested_on_one_side_at_a_time(self, seed: int) -> None:
        """1.8 errors below τ: inside by one-sided 95%, not by two-sided."""
        answer = warmup(self.angles(self.scatter(400, 0.032, 0.01, seed)), seed=seed)
        assert 0.048 < answer.high90[0, 0] < 0.05
        assert answer.overall.skip == 0

    def test_few_texts_that_carry_the_mean_are_no_equivalence(self, seed: int) -> None:
        """Student's bound alone would do: one text of 200 is moved by 2 rad."""
        first = np.where(np.arange(200) == 0, 2.0, self.scatter(200, 0.0, 0.001, seed))
        student = first.mean() + student_t.ppf(0.95, 199) * first.std(ddof=1) / np.sqrt(200)
        assert student < 0.04
        answer = warmup(self.angles(first), seed=seed)
        assert answer.high90[0, 0] > 0.05
        assert (answer.overall.verdict, answer.overall.k_hi) == ("bracketed", 1)

    def test_the_band_holds_in_all_columns_at_once(self, seed: int) -> None:
        """16 tested pairs whose scatter is their own ask for about 2.9 errors; one pair for about 2."""
        n = 400
        answer = warmup(texts(seed, n, sd=0.2), seed=seed)
        width = (answer.band_high - answer.delta)[0, :16] * np.sqrt(n) / answer.sd[0, :16]
        np.testing.assert_allclose(width, width[0])
        assert 2.6 < width[0] < 3.2


class TestTextsAreTheUnit:
    def test_texts_of_a_group_count_once(self, seed: int) -> None:
        theta = texts(seed, 60, sd=0.1)
        groups = np.repeat(np.arange(20), 3)
        answer = warmup(theta, groups=groups)
        assert answer.n == 20
        assert answer.overall.verdict == "undetermined"
        np.testing.assert_allclose(answer.delta, warmup(theta).delta, atol=1e-12)

    def test_repeating_a_text_adds_nothing_when_it_is_one_group(self, seed: int) -> None:
        theta = texts(seed, 40, sd=0.1)
        twice = warmup(np.concatenate([theta, theta]), groups=np.tile(np.arange(40), 2), seed=seed)
        np.testing.assert_allclose(twice.band_high, warmup(theta, seed=seed).band_high)

    def test_a_text_with_nan_is_left_out_and_counted(self, seed: int) -> None:
        theta = texts(seed, 40, sd=0.1, layers=2)
        theta[3, 1, 5] = np.nan
        values, n_dropped = independent_texts(theta)
        assert (len(values), n_dropped) == (39, 1)

    def test_one_text_is_refused(self) -> None:
        with pytest.raises(InputError, match="1 independent texts"):
            warmup(np.ones((1, 1, 12)))
        with pytest.raises(InputError, match=r"0 independent texts without NaN \(3 dropped\)"):
            warmup(np.full((3, 1, 12), np.nan))

    def test_groups_of_another_length_are_refused(self, seed: int) -> None:
        with pytest.raises(InputError, match="one label for each of 40 texts"):
            warmup(texts(seed, 40, sd=0.1), groups=[1, 2])


class TestReference:
    def test_windows(self) -> None:
        assert reference_pairs(63) == slice(42, 63)
        assert reference_pairs(63, "last half") == slice(32, 63)
        assert reference_pairs(63, "last quarter") == slice(48, 63)
        assert reference_pairs(63, slice(30, None)) == slice(30, 63)
        assert reference_pairs(63, (30, 40)) == slice(30, 40)

    @pytest.mark.parametrize("bad", ["last tenth", (0, 5), (5, 5), (5, 64), slice(0, 60), slice(10, 60, 2)])
    def test_refused(self, bad: Any) -> None:
        with pytest.raises(InputError, match="reference"):
            reference_pairs(63, bad)

    @pytest.mark.parametrize("bad", [[1, 2, 3], (1,), 3, (1.5, 4), ("a", "b"), [[1, 2], [3, 4]], True])
    def test_what_is_no_window(self, bad: Any) -> None:
        with pytest.raises(InputError, match=r"is no window of pairs; give \(first, stop\)"):
            reference_pairs(63, bad)

    def test_a_list_is_a_window(self) -> None:
        assert reference_pairs(63, [30, np.int64(40)]) == slice(30, 40)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *[("tau", tau) for tau in (0.0, -1.0, np.pi, np.inf, np.nan)],
            *[("level", level) for level in (1.0, 0.4)],
        ],
    )
    def test_settings_out_of_range(self, name: str, value: Any) -> None:
        with pytest.raises(InputError, match=re.escape(f"{name} is {value!r}")):
            warmup(np.ones((40, 1, 12)), **{name: value})

    @pytest.mark.parametrize("bad", [True, "0.05", None, [0.05]])
    def test_a_tolerance_is_a_number(self, bad: Any) -> None:
        with pytest.raises(InputError, match=re.escape(f"tau is {bad!r}; give a tolerance in radians")):
            check_tau(bad)

    def test_two_axes_are_refused(self) -> None:
        with pytest.raises(ShapeError, match=r"\(40, 12\)"):
            warmup(np.ones((40, 12)))


class TestNumberOfTexts:
    def test_more_scatter_needs_more_texts(self, seed: int) -> None:
        small, large = (warmup(texts(seed, 60, sd=sd), seed=seed).overall.n_needed for sd in (0.17, 0.28))
        assert small is not None
        assert large is not None
        assert MIN_TEXTS <= small < large < 1500

    def test_a_difference_at_tau_cannot_be_decided(self, seed: int) -> None:
        answer = warmup(texts(seed, 4000, sd=0.1, delta=simulated.first(1, 0.0502)), seed=seed).overall
        assert (answer.verdict, answer.k_lo, answer.k_hi) == ("bracketed", 0, 1)
        assert answer.n_needed is None or answer.n_needed > 20_000

    @pytest.mark.parametrize("n", [200, 400])
    def test_one_text_more_is_no_answer_where_these_were_not_enough(self, seed: int, n: int) -> None:
        """Means that chance explains are shrunk to nothing, with which the texts at hand would have done."""
        normals = np.random.default_rng(seed).standard_normal((400, 1, 5))
        how = {"sd": np.full((1, 5), 0.01 * n**0.5), "normals": normals, "n": n, "tau": 0.05}
        found = {
            size: Deciding(np.full((1, 5), size), **how, critical=3.0, level=0.99).all()(True)
            for size in (0.0, 0.012, 0.018)
        }
        assert found[0.0] == pytest.approx(n + 1, rel=0.05)  # of means that are nothing it is one
        assert found[0.012] is not None
        assert found[0.018] is not None
        assert 1.1 * n < found[0.012] < found[0.018]

    def test_encoding(self) -> None:
        np.testing.assert_array_equal(encode([3, None, 0]), [3, -1, 0])


class TestShape:
    window = slice(40, 60)

    def curve(self, values: np.ndarray) -> np.ndarray:
        return values - values[self.window].mean()

    @pytest.mark.parametrize("k", [1, 2, 4])
    def test_step(self, k: int) -> None:
        found = shape(self.curve(np.where(np.arange(60) < k, 0.3, 0.0)), np.full(60, 0.01), self.window)
        assert found.kind == "step"
        assert found.height == pytest.approx(0.3)
        assert np.isnan(found.half_life)

    @pytest.mark.parametrize("h", [3.0, 8.0, 20.0])
    def test_decay(self, h: float) -> None:
        found = shape(self.curve(-0.3 * np.exp(-np.arange(60) / h)), np.full(60, 0.01), self.window)
        assert found.kind == "decay"
        assert found.half_life == pytest.approx(h * np.log(2), rel=0.03)
        assert found.height == pytest.approx(-0.3, rel=0.05)

    def test_nothing_shown(self) -> None:
        assert shape(np.zeros(60), np.full(60, 0.01), self.window, shown=False).kind == "none"

    def test_noise_as_large_as_the_difference_is_unclear(self) -> None:
        curve = self.curve(0.3 * np.exp(-np.arange(60) / 2.0))
        assert shape(curve, np.full(60, 0.3), self.window).kind == "unclear"


class TestEffects:
    def test_layers_and_both_signs(self, seed: int) -> None:
        delta = np.stack([simulated.first(2, size) for size in (0.0, 0.4, 0.3, -0.2)])
        theta = texts(seed, 400, sd=0.1, layers=4, delta=delta)
        wider, narrower = effects(contrast(theta, slice(16, 24)), 2, 0.05, seed=seed)
        assert (wider.layers, wider.sign, narrower.layers, narrower.sign) == (
            (1, 2),
            "wider",
            (3,),
            "narrower",
        )
        assert wider.cells == ((1, 0), (1, 1), (2, 0), (2, 1))
        assert wider.interval.n == 200
        assert wider.interval.low < 0.35 < wider.interval.high
        assert narrower.interval.low < -0.2 < narrower.interval.high

    def test_nothing_to_measure(self, seed: int) -> None:
        d = contrast(texts(seed, 100, sd=0.1), slice(16, 24))
        assert effects(d, 0, 0.05) == []
        assert effects(d, 1, 0.05) == []

    def test_a_first_pair_without_a_shift_has_none(self, seed: int) -> None:
        """With a BOS, the first pair holds it, and no bigram deep in a text is the same."""
        d = contrast(texts(seed, 200, sd=0.1, delta=simulated.first(2, 0.4)), slice(16, 24))
        paired = np.full((200, 1, 3), 0.4)
        paired[..., 0] = np.nan
        (one,) = effects(d, 1, 0.05, paired=paired, seed=seed)
        assert one.paired is None
        (two,) = effects(d, 2, 0.05, paired=paired, seed=seed)
        assert two.paired is not None
        assert float(two.paired.estimate) == pytest.approx(0.4)

    def test_paired_goes_as_far_as_it_was_measured(self, seed: int) -> None:
        d = contrast(texts(seed, 200, sd=0.1, delta=simulated.first(2, 0.4)), slice(16, 24))
        (found,) = effects(d, 2, 0.05, paired=np.full((200, 1, 1), 0.3), seed=seed)
        assert found.paired is not None
        assert float(found.paired.estimate) == pytest.approx(0.3)

    def test_share_of_texts(self, seed: int) -> None:
        """A tenth of the texts by a radian moves the mean by 0.1; the share says what the mean hides."""
        theta = texts(seed, 2000, sd=0.1)
        theta[:200, :, 0] += 1.0
        share, low, high = share_affected(contrast(theta, slice(16, 24)), slice(16, 24), 1)[:, 0]
        assert low < 0.1 < high
        assert share == pytest.approx(0.1, abs=0.02)
        assert np.isnan(share_affected(theta, slice(16, 24), 0)).all()

    def test_share_without_effect_is_near_zero(self, seed: int) -> None:
        d = contrast(texts(seed, 2000, sd=0.1), slice(16, 24))
        assert share_affected(d, slice(16, 24), 1)[0, 0] < 0.02


class TestSinks:
    def states(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal((3, 4, 10, 16))

    def test_large_norm_in_one_layer_is_enough(self, seed: int) -> None:
        x = self.states(seed)
        x[1, 2, 3] *= 30
        expected = np.zeros((4, 10), dtype=bool)
        expected[2, 3] = True
        np.testing.assert_array_equal(sink_tokens(x), expected)

    def test_cosine_extends_in_the_same_layer_only(self, seed: int) -> None:
        x = self.states(seed)
        x[1, 2, 3] *= 30
        x[1, 0, 5] = x[1, 2, 3] / 40 + 0.001
        x[2, 1, 1] = x[1, 2, 3] / 40
        found = sink_tokens(x)
        assert found[2, 3]
        assert found[0, 5]
        assert found.sum() == 2

    def test_cosine_alone_makes_no_sink(self) -> None:
        x = np.ones((1, 2, 5, 8)) + 0.01 * np.random.default_rng(0).standard_normal((1, 2, 5, 8))
        assert not sink_tokens(x).any()

    def test_in_a_narrow_cone_only_norms_count(self) -> None:
        x = np.ones((1, 2, 5, 8)) + 0.01 * np.random.default_rng(0).standard_normal((1, 2, 5, 8))
        x[0, 0, 0] *= 100
        assert sink_tokens(x).sum() == 1

    @pytest.mark.parametrize(("ratio", "sink"), [(4.9, False), (5.1, True)])
    def test_a_norm_is_large_from_five_medians_on(self, ratio: float, sink: bool) -> None:
        x = np.eye(10, 16)[None, None].copy()
        x[0, 0, 4] *= ratio
        assert sink_tokens(x)[0, 4] == sink
        assert sink_tokens(x).sum() == sink

    def test_a_pair_of_two_sinks_is_one_of_long_vectors_or_of_one_and_its_like(self) -> None:
        ratio = np.array([[[9.0, 8.0], [9.0, 3.0], [9.0, 3.0], [4.0, 3.0]]] * 2)
        angle = np.array([[1.0, 0.1, 0.5, 0.1]] * 2)
        found = both_sinks(ratio, angle, np.array([1.0, 0.4]))
        assert found.tolist() == [[True, True, False, False], [True, False, False, False]]

    @pytest.mark.parametrize(("cosine", "sink"), [(0.89, False), (0.91, True)])
    def test_a_sink_s_direction_reaches_to_nine_tenths(self, cosine: float, sink: bool) -> None:
        x = np.eye(10, 16)[None, None].copy()
        x[0, 0, 4] *= 30
        x[0, 0, 7] = cosine * np.eye(16)[4] + np.sqrt(1 - cosine**2) * np.eye(16)[12]
        assert sink_tokens(x)[0, 4]
        assert sink_tokens(x)[0, 7] == sink

    def test_padding_is_neither_sink_nor_counted(self, seed: int) -> None:
        x = self.states(seed)
        x[0, 0, 0] *= 30
        x[:, :, 6:] = np.nan
        mask = np.ones((4, 10), dtype=bool)
        mask[:, 6:] = False
        found = sink_tokens(x, mask)
        assert found[0, 0]
        assert found.sum() == 1

    def test_zero_vectors_and_no_tokens(self) -> None:
        assert not sink_tokens(np.zeros((2, 1, 4, 3))).any()
        assert not sink_tokens(np.ones((2, 1, 4, 3)), np.zeros((1, 4), dtype=bool)).any()

    def test_wrong_settings(self) -> None:
        with pytest.raises(InputError, match=r"norm_ratio 0\.5"):
            sink_tokens(np.ones((1, 1, 4, 3)), norm_ratio=0.5)
        with pytest.raises(ShapeError, match=r"mask has shape \(2, 4\)"):
            sink_tokens(np.ones((1, 1, 4, 3)), np.ones((2, 4), dtype=bool))


def test_known_answers_on_20_data_sets() -> None:
    failed = [
        f"{row.check} ({row.setting}): {row.required}, {row.measured}"
        for row in simulated.run(20)
        if not row.ok
    ]
    assert not failed
