"""Numbers as they are said: a true minus sign, no negative zero, and an interval whose ends differ."""

from collections.abc import Callable
from typing import Any

MOST_DIGITS = 3
"""So many more digits are given, at most, to tell the ends of an interval apart."""


def decimal(value: Any, digits: int = 2) -> str:
    """`0.12`, `−0.12`; what rounds to zero has no sign.

    >>> decimal(-0.004)
    '0.00'
    """
    return _said(f"{float(value):.{digits}f}")


def signed(value: Any, digits: int = 2) -> str:
    """A difference: `+0.05`, `−0.12`; one below zero that rounds to zero has no sign."""
    return _said(f"{float(value):+.{digits}f}")


def percent(share: Any, digits: int = 0) -> str:
    """A share of 1 in per cent.

    >>> percent(-0.00001), percent(0.003, 1), percent(0.25)
    ('0%', '0.3%', '25%')
    """
    return decimal(100 * float(share), digits) + "%"


def interval(
    low: Any, high: Any, digits: int = 2, *, join: str = "–", write: Callable[[Any, int], str] = decimal
) -> str:
    """The two ends, with as many digits as tell them apart; one number where `MOST_DIGITS` more do not.

    >>> interval(0.238, 0.2418), interval(0.24, 0.24)
    ('0.238–0.242', '0.24')
    """
    for more in range(MOST_DIGITS + 1):
        ends = write(low, digits + more), write(high, digits + more)
        if _value(ends[0]) != _value(ends[1]):
            return join.join(ends)
    return write(low, digits)


def _said(text: str) -> str:
    negative_zero = text.startswith("-") and not float(text)
    return (text[1:] if negative_zero else text).replace("-", "−")


def _value(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").rstrip("%"))
