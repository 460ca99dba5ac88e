"""False discoveries: the adjustment by hand, NaN, and the rate under dependence."""

import numpy as np
import pytest

from laminar_lens.errors import InputError
from laminar_lens.stats.false_discovery import discovery_values


def test_by_hand() -> None:
    """Benjamini & Yekutieli: p(k)·m·(1 + 1/2 + … + 1/m)/k, made monotone from the largest down."""
    p, m = np.array([0.04, 0.001, 0.03, 0.9]), 4
    factor = sum(1 / k for k in range(1, m + 1))
    ordered = np.sort(p) * m * factor / np.arange(1, m + 1)
    expected = np.minimum(np.minimum.accumulate(ordered[::-1])[::-1], 1)
    np.testing.assert_allclose(np.sort(discovery_values(p)), expected, rtol=1e-12)
    assert discovery_values(p).argmin() == 1


def test_what_was_not_tested_is_no_test() -> None:
    found = discovery_values(np.array([[0.01, np.nan], [0.02, np.nan]]))
    assert found.shape == (2, 2)
    assert np.isnan(found).tolist() == [[False, True], [False, True]]
    np.testing.assert_array_equal(found[:, 0], discovery_values(np.array([0.01, 0.02])))
    assert np.isnan(discovery_values(np.full(3, np.nan))).all()


@pytest.mark.parametrize("p", [[-0.1, 0.5], [0.1, 1.5]])
def test_bad_input(p: list[float]) -> None:
    with pytest.raises(InputError, match=r"p holds .*; expected 0 … 1"):
        discovery_values(np.array(p))


def test_few_of_the_discoveries_are_false_whatever_depends_on_what() -> None:
    """Two-sided tests of normal means, half of them true nulls, with correlations of both signs."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(300):
        common = rng.normal(size=(1, 1)) * np.where(np.arange(20) % 2, 1, -1)
        z = 0.7 * common[0] + 0.7 * rng.normal(size=20)
        z[:10] += 4
        p = 2 * (1 - _normal(np.abs(z)))
        found = discovery_values(p) <= 0.05
        shares.append(found[10:].sum() / max(found.sum(), 1))
    assert np.mean(shares) < 0.05


def _normal(z: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    return np.asarray(norm.cdf(z))
