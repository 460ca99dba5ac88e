"""Numbers as they are said: signs of zero, ends of an interval, shares."""

import numpy as np
import pytest

from laminar_lens.stats.bootstrap import mean_interval
from laminar_lens.stats.sinks import within_shares
from laminar_lens.words import decimal, estimate_text, interval, number, percent, signed


def test_what_rounds_to_zero_has_no_minus() -> None:
    assert [decimal(x) for x in (-0.004, -0.0, 0.004, -0.006)] == ["0.00", "0.00", "0.00", "−0.01"]
    assert [signed(x) for x in (-0.004, 0.004, 0.126, -0.126)] == ["0.00", "+0.00", "+0.13", "−0.13"]
    assert [percent(x) for x in (-1e-5, 0.004, 0.256)] == ["0%", "0%", "26%"]
    assert number(-0.0) == "0.000"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.21, 0.25, "0.21–0.25"),
        (0.2381, 0.2419, "0.238–0.242"),
        (0.24001, 0.24049, "0.2400–0.2405"),
        (-0.004, 0.004, "−0.004–0.004"),
        (0.24, 0.24, "0.24"),
        (0.24, 0.24 + 1e-9, "0.24"),
        (-0.0, 0.0, "0.00"),
    ],
)
def test_the_ends_of_an_interval_differ(low: float, high: float, said: str) -> None:
    assert interval(low, high) == said


def test_an_estimate_with_its_interval() -> None:
    row = {"estimate": 0.2401, "low": 0.24001, "high": 0.24021, "unit": "rad"}
    assert estimate_text(row) == "0.240 [0.2400, 0.2402] rad"
    assert estimate_text(row | {"low": 0.24, "high": 0.24}) == "0.240 [0.240] rad"
    assert estimate_text({"estimate": 2, "low": 2, "high": 2, "unit": "tokens"}) == "2 [2, 2] tokens"
    assert estimate_text({"estimate": 1234.4, "low": 1234.2, "high": 1234.4}) == "1,234 [1,234.2, 1,234.4]"
    assert estimate_text({"estimate": -0.0001, "low": -0.0004, "high": 0.0}) == "−0.0001 [−0.0004, 0.000]"


def test_a_share_stays_between_nothing_and_all(seed: int) -> None:
    """Rare heads: the bootstrap's lower end lies below 0."""
    shares = np.zeros(60)
    shares[0] = 1 / 96
    found = mean_interval(shares, seed=seed)
    assert found.low < 0
    held = within_shares(found)
    assert (float(held.low), float(held.high)) == (0.0, float(found.high))
    assert (held.estimate, held.withheld) == (found.estimate, found.withheld)
    assert float(within_shares(mean_interval(1 - shares, seed=seed)).high) == 1.0
