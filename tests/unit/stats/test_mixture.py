"""Two modes and attribution: against scikit-learn, each criterion by itself, controls on 20 data sets."""

import time

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.mixture import GaussianMixture

from laminar_lens.errors import InputError
from laminar_lens.stats import attribution, mixture
from laminar_lens.stats.mixture import TwoModes, attribute, two_modes_by_layer
from laminar_lens.stats.two_component import fit_two
from tests.validate import mixture as validation


def planted(n: int = 54, upper: int = 19, sd: float = 0.1, seed: int = 0) -> np.ndarray:
    means = np.where(np.arange(n) < upper, 2.75, 1.25)
    return np.random.default_rng(seed).normal(means, sd)


def test_the_fit_is_as_good_as_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    samples = np.stack(
        [planted(120, 30, sd, seed) for seed, sd in enumerate((0.1, 0.3, 0.5))] + [rng.gamma(2, size=120)]
    )
    fit = fit_two(samples)
    for row, sample in enumerate(samples):
        theirs = GaussianMixture(2, n_init=20, random_state=0, tol=1e-6, max_iter=500).fit(sample[:, None])
        assert fit.log_likelihood[row] >= theirs.score(sample[:, None]) * 120 - 0.05
        single = GaussianMixture(1).fit(sample[:, None])
        assert fit.one_component[row] == pytest.approx(single.score(sample[:, None]) * 120, abs=1e-3)


def two_modes(x: np.ndarray) -> TwoModes:
    """Of one sample [n]."""
    return two_modes_by_layer(x[:, None])[0]


def test_planted_modes_are_described() -> None:
    answer = two_modes(planted())
    assert answer.has_two
    assert answer.reason == ""
    assert answer.n == 54
    np.testing.assert_allclose(answer.means, (1.25, 2.75), atol=0.06)
    np.testing.assert_allclose(answer.sds, (0.1, 0.1), atol=0.03)
    np.testing.assert_allclose(answer.weights, (35 / 54, 19 / 54), atol=1e-3)
    assert answer.ashman_d > 10
    assert answer.valley_ratio < 0.01
    assert answer.p_one_mode <= 0.02
    np.testing.assert_array_equal(answer.upper, np.arange(54) < 19)


def test_location_and_scale_do_not_matter_and_missing_values_are_left_out() -> None:
    x = planted()
    first, moved = two_modes(x), two_modes(1e-3 * x + 7.0)
    assert moved.delta_bic == pytest.approx(first.delta_bic, abs=1e-3)
    assert moved.p_one_mode == first.p_one_mode
    with_missing = two_modes(np.concatenate([[np.nan, np.inf], x]))
    assert with_missing.n == 54
    assert with_missing.upper[:2].tolist() == [False, False]
    np.testing.assert_array_equal(with_missing.upper[2:], first.upper)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (planted(19, 7), "19 texts"),
        (np.full(40, 1.5), "equal"),
        (np.random.default_rng(0).normal(size=54), "ΔBIC"),
        (planted(100, 2), "weight"),
        (planted(40, 2), "2.0 texts"),
        (np.random.default_rng(1).standard_t(2, size=400), "smaller component|Ashman"),
        (np.random.default_rng(2).exponential(size=200), "valley|Ashman"),
        (np.random.default_rng(3).random(400), "valley|one-mode shapes"),
    ],
)
def test_one_mode_comes_with_its_reason(x: np.ndarray, says: str) -> None:
    answer = two_modes(x)
    assert not answer.has_two
    assert not answer.upper.any()
    assert any(word in answer.reason for word in says.split("|")), answer.reason


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"delta_bic": 9.9}, "ΔBIC is 9.9, not above 10"),
        ({"weight": 0.049, "n": 200}, "weight 0.049, below 0.05"),
        ({"weight": 0.06, "n": 40}, "2.4 texts, fewer than 3"),
        ({"ashman_d": 1.95}, "D is 1.95, not above 2"),
        ({"valley_ratio": 0.52}, "valley is 0.52 of the lower peak, more than 0.5"),
    ],
)
def test_each_criterion_stops_at_its_threshold(change: dict[str, float], says: str) -> None:
    enough = {"delta_bic": 10.1, "weight": 0.051, "n": 54, "ashman_d": 2.05, "valley_ratio": 0.49}
    assert mixture._cheap_reason(**enough) == ""
    assert says in mixture._cheap_reason(**(enough | change))


def test_a_group_of_equal_values_keeps_the_floor_of_variance() -> None:
    x = np.concatenate([np.random.default_rng(3).normal(size=30), np.full(10, 12.0)])
    fit = fit_two(x[None])
    assert fit.sds[0, 1] == pytest.approx(np.sqrt(1e-3) * x.std())


def test_layers_together_equal_layers_alone_and_are_fast() -> None:
    rng = np.random.default_rng(4)
    x = np.stack(
        [planted(200, 2 + 2 * layer, 0.1 + 0.3 * rng.random(), layer) for layer in range(49)], axis=1
    )
    mixture._null_gains.cache_clear()
    started = time.process_time()
    answers = two_modes_by_layer(x)
    assert time.process_time() - started < 10  # about 2 s
    assert sum(answer.has_two for answer in answers) > 30
    alone = two_modes(x[:, 20])
    assert (alone.has_two, alone.means, alone.p_one_mode) == (
        answers[20].has_two,
        pytest.approx(answers[20].means),
        answers[20].p_one_mode,
    )


def test_adjusted_mutual_information_is_scikit_learns() -> None:
    rng = np.random.default_rng(5)
    for size in (6, 20, 33):
        upper, member = rng.permutation(40) < 14, rng.permutation(40) < size
        overlap = int((upper & member).sum())
        ours = attribution._ami_by_overlap(40, 14, size)[overlap]
        theirs = adjusted_mutual_info_score(upper, member)
        assert abs(ours) == pytest.approx(abs(theirs), abs=1e-10)
    assert attribution._ami_by_overlap(40, 14, 14)[14] == pytest.approx(1.0)
    assert attribution._ami_by_overlap(40, 14, 14)[0] < 0  # avoidance is not an explanation


def test_attribution_names_the_position_with_precision_and_recall() -> None:
    rng = np.random.default_rng(6)
    pairs = np.stack([np.sort(rng.choice(8, size=2, replace=False)) for _ in range(60)])
    holds = (pairs == 3).any(axis=1)
    exact = attribute(holds, pairs)
    assert (exact.position, exact.precision, exact.recall) == (3, 1.0, 1.0)
    assert exact.ami == pytest.approx(1.0)
    assert exact.p < 0.001
    part = holds.copy()
    part[np.flatnonzero(holds)[:2]] = False
    partial = attribute(part, pairs)
    assert partial.position == 3
    assert partial.recall == 1.0
    assert partial.precision == pytest.approx((holds.sum() - 2) / holds.sum())
    assert attribute(~holds, pairs).position != 3


def test_p_of_an_attribution_is_over_the_maximum_of_positions() -> None:
    rng = np.random.default_rng(7)
    pairs = np.stack([np.sort(rng.choice(20, size=2, replace=False)) for _ in range(54)])
    upper = np.arange(54) < 18
    found = attribute(upper, pairs)
    largest = np.array([attribute(rng.permutation(upper), pairs, n_perm=1).ami for _ in range(500)])
    assert found.p == pytest.approx((largest >= found.ami - 1e-9).mean(), abs=0.08)
    assert found.p > 0.05  # nothing is there, but the best of 20 positions looks as if


def test_attribution_without_anything_to_explain_or_without_pairs() -> None:
    pairs = np.tile([0, 1], (30, 1))
    assert attribute(np.zeros(30, dtype=bool), pairs).position is None
    assert attribute(np.arange(30) < 9, pairs).position is None  # every pair holds the same positions
    pairs[:10] = -1
    assert attribute(np.arange(30) < 10, pairs).position is None  # the texts without a pair are left out


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: two_modes_by_layer(np.zeros(5)), "[texts, layers]"),
        (lambda: two_modes(np.array([1.0, np.nan])), "1 texts"),
        (lambda: attribute(np.zeros(5, dtype=bool), np.zeros((4, 2), dtype=int)), "(4, 2)"),
        (lambda: attribute(np.zeros(5, dtype=bool), np.zeros((5, 2), dtype=int), n_perm=0), "n_perm=0"),
    ],
)
def test_bad_input(call, says) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert says in str(caught.value)


def test_controls() -> None:
    failed = [row for row in validation.run(20) if not row.ok]
    assert not failed, failed
