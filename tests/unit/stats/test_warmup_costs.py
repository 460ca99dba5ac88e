"""What leaving out costs and saves: formulas by hand, a planted bias, none where nothing is planted."""

import numpy as np
import pytest

from laminar_lens.stats.bootstrap import simultaneous_band
from laminar_lens.stats.warmup_costs import (
    LEADING,
    LEFT_OUT,
    SPANS,
    Costs,
    Plan,
    _directions,
    angle_costs,
    left_out,
    measured_texts,
    vector_costs,
)

WINDOW = slice(42, 64)


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def plan_of(places: int = 64, sizes: tuple[int, ...] = SPANS) -> Plan:
    return Plan(places, WINDOW, sizes, left_out(WINDOW))


def correlated(rng: np.random.Generator, n: int, places: int, width: int = 1) -> np.ndarray:
    """Texts [n place width] with a level of their own (sd 0.1) and noise of neighbours in common (sd 0.3)."""
    noise = rng.normal(size=(n, places + 1, width))
    return 0.1 * rng.normal(size=(n, 1, width)) + 0.3 * (noise[:, :-1] + noise[:, 1:]) / np.sqrt(2)


def body(rng: np.random.Generator, n: int = 64, width: int = 40) -> np.ndarray:
    """Vectors [n 64 width] around one of length 3, that vary most along the first coordinate."""
    x = rng.normal(size=(n, 64, width)) * np.r_[4, np.linspace(1.5, 0.2, width - 1)]
    return (x + np.r_[0, 3, np.zeros(width - 2)]).astype(np.float32)


class TestByHand:
    """Two texts of five places, the last three the reference: (3, 1 | 0, 0, 3) and (5, 1 | 2, 0, 1)."""

    theta = np.array([[3.0, 1, 0, 0, 3], [5.0, 1, 2, 0, 1]])

    def costs(self, size: int, k: int) -> tuple[float, float]:
        found = angle_costs(self.theta, Plan(5, slice(2, 5), (size,), (k,)))
        return float(found.bias.mean()), float(found.spread.mean())

    @pytest.mark.parametrize(
        ("size", "k", "bias", "variance"),
        [
            (5, 0, 0.6, (7 - 9) ** 2 / 25 / 2),  # means 7/5 and 9/5, of the reference 1 and 1
            (5, 1, 0.0, 0.0),  # (1 + 3)/4 and (1 + 3)/4
            (2, 0, 1.5, 0.5),  # 2 and 3
            (10, 0, 0.3, None),  # five more places of 1 each
            (10, 1, 0.0, None),
        ],
    )
    def test_bias_and_variance(self, size: int, k: int, bias: float, variance: float | None) -> None:
        found = self.costs(size, k)
        assert found[0] == pytest.approx(bias)
        if variance is not None:
            assert found[1] == pytest.approx(variance)

    def test_variance_of_one_place_more(self) -> None:
        """Distances from the mean are ∓1, 0 | ∓1, 0, ±1. Their sums squared are 1, twice; one place more has
        the reference's own variance, 2/3, shares 0 with its neighbour and with the first two, and with others
        −1, which is no variance: 0. Over 6² and n − 1."""
        assert self.costs(6, 0)[1] == pytest.approx((2 * 1 + 2 * 2 / 3) / 36)

    def test_one_place_more_varies_with_its_neighbour(self) -> None:
        """Distances from the mean are ±(0, 0 | 1, 1, 0), whose sums squared are 4. One place more has 2/3
        alone and shares 1/2 with its neighbour, twice, and 0 with others."""
        theta = np.array([[0.0, 0, 1, 1, 0], [0, 0, -1, -1, 0]])
        found = angle_costs(theta, Plan(5, slice(2, 5), (6,), (0,)))
        assert float(found.spread.mean()) == pytest.approx(2 * (4 + 2 / 3 + 2 * 1 / 2) / 36)

    def test_nothing_left(self) -> None:
        assert np.isnan(self.costs(2, 2)).all()

    def test_a_reference_of_two_pairs_does_not_tell_how_longer_texts_vary(self) -> None:
        found = angle_costs(self.theta, Plan(5, slice(3, 5), (5, 9), (0,)))
        assert np.isfinite(found.bias).all()
        assert np.isfinite(found.spread).all(axis=(0, 2)).tolist() == [True, False]


class TestAngles:
    def test_longer_texts_as_they_would_be(self, rng: np.random.Generator) -> None:
        """From windows of 64 places, against the truth of 512."""
        whole = correlated(rng, 4000, 512)[..., 0]
        whole[:, :3] += [1.0, 0.5, 0.25]
        found = angle_costs(whole[:, :64], plan_of())
        for row, size in enumerate(SPANS):
            for column, k in enumerate(left_out(WINDOW)):
                if size <= k:
                    continue
                kept = whole[:, k:size].mean(1)
                planted = [1.75, 0.75, 0.25, 0, 0, 0, 0][column] / (size - k)
                error = found.bias[:, row, column].std() / np.sqrt(4000)
                assert abs(found.bias[:, row, column].mean() - planted) < 4 * error
                assert found.spread[:, row, column].mean() == pytest.approx(kept.var(ddof=1), rel=0.12)

    def test_a_planted_bias_is_covered_and_none_is_not_named(self, rng: np.random.Generator) -> None:
        theta = correlated(rng, 300, 64)[..., 0]
        theta[:, 0] += 0.8
        band = simultaneous_band(angle_costs(theta, plan_of()).bias)
        planted = np.array([0.8 / size for size in SPANS])
        assert (band.low[:, 0] < planted).all()
        assert (planted < band.high[:, 0]).all()
        assert (band.low[:, 0] > 0).all()
        rest = np.s_[:, 1:]
        there = np.isfinite(band.low[rest])
        assert (band.low[rest][there] <= 0).all()
        assert (band.high[rest][there] >= 0).all()

    def test_without_a_warm_up_leaving_out_only_costs(self, rng: np.random.Generator) -> None:
        sd = np.sqrt(angle_costs(correlated(rng, 2000, 64)[..., 0], plan_of()).spread.mean(0))
        assert (np.diff(sd[0][np.isfinite(sd[0])]) > 0).all()
        assert (np.diff(sd, axis=0)[:, :-1] < 0).all()


class TestVectors:
    def shown(self, costs: Costs) -> np.ndarray:
        band = simultaneous_band(costs.bias)
        return np.asarray((band.low > 0) | (band.high < 0))

    def test_a_planted_first_vector(self, rng: np.random.Generator) -> None:
        """A vector at position 0 a hundred times as long as others: the mean moves by it, and the axis turns
        to it."""
        x = body(rng)
        x[:, 0] = 0
        x[:, 0, 7] = 100 * rng.normal(1, 0.3, size=64)
        mean, axis = vector_costs(x, plan_of())
        measured = x[measured_texts(64)]
        typical = np.sqrt(np.square(measured[:, WINDOW]).sum(-1).mean())
        apart = (measured - measured[:, WINDOW].mean(1, keepdims=True)).mean(0)
        for row, size in enumerate(SPANS):
            moved = apart[:size].sum(0) / size / typical
            assert mean.bias[:, row, 0].mean() == pytest.approx(moved[7], rel=0.02)
        assert self.shown(mean)[:, 0].all()
        assert not self.shown(mean)[:, 1:].any()
        assert (axis.bias[:, :3, 0].mean(0) > 1.4).all()
        assert self.shown(axis)[:3, 0].all()
        assert not self.shown(axis)[:, 1:].any()

    def test_nothing_is_named_where_nothing_is(self, rng: np.random.Generator) -> None:
        named = [self.shown(one) for _ in range(20) for one in vector_costs(body(rng), plan_of())]
        assert sum(one.any() for one in named) <= 5  # of 40, at 5%: more than 5 in 1 of 70

    def test_the_mean_vector_s_variance(self, rng: np.random.Generator) -> None:
        """Against the truth of texts of 512 positions."""
        whole = correlated(rng, 600, 512, 30)
        found = vector_costs(whole[:, :64], plan_of())[0].spread.mean(0)
        typical = 30 * (0.1**2 + 0.3**2)
        for row, size in enumerate(SPANS):
            for column, k in enumerate(LEFT_OUT[:-1]):
                truth = whole[:, k:size].mean(1).var(0, ddof=1).sum() / typical
                assert found[row, column] == pytest.approx(truth, rel=0.15)

    def test_the_axis_s_variance(self, rng: np.random.Generator) -> None:
        """A 40th of it is how far the axes of samples of 40 texts are from the true one, on average."""
        plan = Plan(64, WINDOW, (32, 64, 128), (0, 8))
        samples = [body(rng, 60) for _ in range(150)]
        found = np.mean([vector_costs(x, plan)[1].spread.mean(0) for x in samples[:20]], axis=0)
        for row, size in enumerate(plan.sizes):
            for column, k in enumerate(plan.left_out):
                far = []
                for x in samples:
                    more = body(rng, 60)[:, : size - 64] if size > 64 else x[:, :0]
                    rows = np.concatenate([x[:40, k:size], more[:40]], 1).reshape(-1, 40)
                    axis = np.linalg.eigh(np.cov(rows.T))[1][:, -1]
                    far.append(np.sum(np.square(axis * np.sign(axis[0]) - np.eye(40)[0])))
                assert found[row, column] / 40 == pytest.approx(np.mean(far), rel=0.15)

    @pytest.mark.parametrize("width", [5, 40])
    def test_an_axis_that_turns_by_a_known_angle(self, rng: np.random.Generator, width: int) -> None:
        """Half of the places vary along another coordinate, twice as far: the axis of all is that one's."""
        x = body(rng, 90, width)
        x[:, :32, 0], x[:, :32, 2] = x[:, :32, 2], 2 * x[:, :32, 0]
        axis = vector_costs(x, plan_of())[1]
        assert axis.bias[:, 1, 0].mean() == pytest.approx(np.pi / 2, abs=0.06)
        assert abs(axis.bias[:, 1, -1].mean()) < 0.06

    def test_what_has_no_axis_or_is_not_finite(self, rng: np.random.Generator) -> None:
        same = np.full((30, 64, 6), 2.0, np.float32)
        mean, axis = vector_costs(same, plan_of())
        assert np.nanmax(np.abs(mean.bias)) < 1e-6
        assert np.isnan(axis.bias).all()
        broken = body(rng, 9)
        broken[3, 5, 1] = np.nan
        for x in (broken, np.zeros((9, 64, 4), np.float32), body(rng, 2)):
            for one in vector_costs(x, plan_of()):
                assert np.isnan(one.bias).all()
                assert len(one.bias) == len(measured_texts(len(x)))


def test_no_place_of_the_reference_is_left_out() -> None:
    assert left_out(slice(42, 63)) == list(LEFT_OUT)
    assert left_out(slice(7, 11)) == [0, 1, 2, 4]


@pytest.mark.parametrize("shape", [(9, 8, 200), (40, 30, 100), (3, 4, 5), (2, 4, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_leading_directions_are_numpy_s(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: type
) -> None:
    """Fewer vectors than dimensions, more, and too few of either."""
    x = (rng.standard_normal(shape) * np.linspace(3, 0.1, shape[-1])).astype(dtype)
    x -= x.mean((0, 1))
    found, rows = _directions(x), x.reshape(-1, shape[-1]).astype(np.float64)
    assert found.shape == (shape[-1], min(LEADING, *rows.shape))
    np.testing.assert_allclose(found.T @ found, np.eye(found.shape[1]), atol=1e-4)
    wanted = np.linalg.svd(rows)[1][: found.shape[1]]
    np.testing.assert_allclose(np.linalg.norm(rows @ found), np.linalg.norm(wanted), rtol=1e-4)


def test_what_is_zero_has_directions_too() -> None:
    assert np.isfinite(_directions(np.zeros((30, 20, 100)))).all()
