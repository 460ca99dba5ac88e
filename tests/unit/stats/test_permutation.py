"""Sign flips: against full enumeration, invariances, speed, and error rates on 20 data sets."""

import itertools
import time

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from laminar_lens.errors import InputError
from laminar_lens.stats.permutation import sign_flip
from tests.validate import permutation as validation


def test_t_is_students_and_p_agrees_with_every_possible_flip() -> None:
    x = np.random.default_rng(0).normal(0.4, 1.0, size=(9, 4))
    answer = sign_flip(x, n_perm=20_000)
    np.testing.assert_allclose(answer.t, ttest_1samp(x, 0.0).statistic, rtol=1e-10)
    flips = np.array(list(itertools.product([-1.0, 1.0], repeat=9)))
    largest = np.abs([ttest_1samp(x * flip[:, None], 0.0).statistic for flip in flips]).max(axis=1)
    exact = np.array([(largest >= abs(t) * (1 - 1e-9)).mean() for t in answer.t])
    np.testing.assert_allclose(answer.p, exact, atol=0.012)
    assert answer.p_overall == answer.p.min()


def test_fifty_four_texts_forty_nine_layers_take_less_than_five_seconds() -> None:
    x = np.random.default_rng(1).normal(size=(54, 49))
    started = time.process_time()
    sign_flip(x, n_perm=10_000)
    assert time.process_time() - started < 5


def test_scale_and_sign_do_not_matter_and_the_seed_does_only_a_little() -> None:
    x = np.random.default_rng(2).normal(0.2, 1.0, size=(30, 5))
    first = sign_flip(x, n_perm=999)
    for other in (sign_flip(-x, n_perm=999), sign_flip(1e-6 * x, n_perm=999)):
        np.testing.assert_array_equal(first.p, other.p)
    np.testing.assert_allclose(
        sign_flip(x, n_perm=9999, seed=1).p, sign_flip(x, n_perm=9999, seed=2).p, atol=0.03
    )


def test_equal_and_zero_differences() -> None:
    answer = sign_flip(np.stack([np.full(12, 0.3), np.zeros(12)], axis=1), n_perm=4999)
    assert answer.p[0] == pytest.approx(
        2 / 2**12, abs=1.5e-3
    )  # only the flips that keep or reverse all texts reach it
    assert answer.p[1] == 1.0
    assert answer.t[1] == 0.0
    assert np.isfinite(answer.t).all()


def test_missing_texts_are_dropped_by_layer() -> None:
    x = np.random.default_rng(3).normal(1.0, 1.0, size=(40, 3))
    x[:10, 1], x[:, 2] = np.nan, np.nan
    answer = sign_flip(x, n_perm=999)
    assert answer.n == 30
    assert answer.n_valid.tolist() == [40, 30, 0]
    assert answer.t[1] == pytest.approx(ttest_1samp(x[10:, 1], 0.0).statistic)
    assert np.isnan(answer.t[2])
    assert np.isnan(answer.p[2])
    assert answer.p_overall <= 0.01


def test_groups_flip_together() -> None:
    x = np.repeat(np.random.default_rng(4).normal(size=(6, 2)), 10, axis=0)
    answer = sign_flip(x, groups=np.repeat(np.arange(6), 10), n_perm=999)
    assert answer.n == 6
    assert answer.p_overall > 0.02


@pytest.mark.parametrize(
    ("values", "keywords", "says"),
    [
        (np.zeros((1, 3)), {}, "at least 2"),
        (np.zeros((5, 3, 2)), {}, "[texts, layers]"),
        (np.zeros((5, 3)), {"n_perm": 0}, "n_perm=0"),
    ],
)
def test_bad_input(values, keywords, says) -> None:
    with pytest.raises(InputError) as caught:
        sign_flip(values, **keywords)
    assert says in str(caught.value)


def test_error_rate_and_power() -> None:
    failed = [row for row in validation.run(20) if not row.ok]
    assert not failed, failed
