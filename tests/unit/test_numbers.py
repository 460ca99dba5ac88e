"""Numbers as they are said: signs of zero, ends of an interval, shares."""

import numpy as np
import pytest

from laminar_lens.stats.bootstrap import mean_interval
from laminar_lens.stats.sinks import within_shares
from laminar_lens.words import decimal, estimate_text, interval, number, percent, signed, with_ends


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
    assert estimate_text(row) == "0.2401 [0.2400, 0.2402] rad"
    assert estimate_text(row | {"low": 0.24, "high": 0.24}) == "0.2401 [0.2400, 0.2400] rad"
    assert estimate_text({"estimate": 2, "low": 2, "high": 2, "unit": "tokens"}) == "2 [2, 2] tokens"
    assert estimate_text({"estimate": 42.0, "low": 0.0, "high": None, "unit": "tokens"}) == "42 [0, –] tokens"
    assert estimate_text({"estimate": 1234.4, "low": 1234.2, "high": 1234.5}) == "1,234.4 [1,234.2, 1,234.5]"
    assert estimate_text({"estimate": 1.0027, "low": None, "high": None, "unit": "times"}) == "1.003 times"
    assert estimate_text({"estimate": -0.0001, "low": -0.0004, "high": 0.0}) == "−0.0001 [−0.0004, 0.0000]"


@pytest.mark.parametrize(
    ("numbers", "unit", "said"),
    [
        ((0.596, 0.377, 1.03), "times", "0.60 [0.38, 1.03] times"),
        ((0.996, 0.99, 1.007), "times", "0.996 [0.990, 1.007] times"),
        ((1.004, 0.992, 1.014), "times", "1.004 [0.992, 1.014] times"),
        ((0.0001, -0.0119, 0.0121), "", "0.000 [−0.012, 0.012]"),
        ((1.0004, 0.9996, 1.03), "times", "1.0004 [0.9996, 1.0300] times"),
        ((2.68, 2.6387, 2.719), "times", "2.68 [2.64, 2.72] times"),
        ((0.012, 0.0002, 0.0238), "rad", "0.0120 [0.0002, 0.0238] rad"),
        ((0.991, 0.94, 1.04), "rad", "0.99 [0.94, 1.04] rad"),
        ((7.2, 3.4, 12.4), "times", "7.2 [3.4, 12.4] times"),
        ((0.098, 0.081, 0.12), "of it", "10% [8%, 12%] of it"),
        ((0.004, 0.001, 0.006), "of it", "0.4% [0.1%, 0.6%] of it"),
        ((0.9985, 0.996, 0.9996), "of it", "99.85% [99.60%, 99.96%] of it"),
        ((0.0, 0.0, 0.0), "of texts", "0% [0%, 0%] of texts"),
        ((0.0, 0.0, 0.14), "of texts", "0% [0%, 14%] of texts"),
        ((3e-9, 2e-9, 4e-9), "", "3e−09 [2e−09, 4e−09]"),
    ],
)
def test_an_interval_has_one_precision_that_tells_its_ends(
    numbers: tuple[float, float, float], unit: str, said: str
) -> None:
    """From the estimate, and from what it is held against: 0, or 1 of a ratio."""
    row = dict(zip(("estimate", "low", "high"), numbers, strict=True))
    assert estimate_text(row | {"unit": unit}) == said
    assert "[" not in estimate_text({**row, "unit": unit, "low": None, "high": None})


def test_a_sentence_says_an_interval_in_the_digits_of_its_estimate() -> None:
    assert with_ends(0.24, 0.238, 0.2418, 3) == ("0.240", "0.238–0.242")
    assert with_ends(1.0004, 0.98, 1.02, 3, join=" to ", marks=(1,)) == ("1.000", "0.980 to 1.020")
    assert with_ends(0.62, 0.58, 0.58, 0, write=percent) == ("62%", "58%")
    assert with_ends(0.5, np.nan, np.nan) == ("0.50", "")


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
