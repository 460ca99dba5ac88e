"""One answer to one claim, and the words that every answer uses."""

from dataclasses import dataclass
from typing import Any

from laminar_lens.stats.bootstrap import Interval

NOTHING = (float("nan"),) * 3
"""Estimate, low and high where there is no number."""


@dataclass(frozen=True)
class Claim:
    """`estimate` with its 95% interval [low, high] in `unit`; NaN where it is withheld.

    `verdict` is "holds", "fails" or "undetermined"; `evidence` is a sentence with the numbers behind it.
    """

    verdict: str
    estimate: float
    low: float
    high: float
    unit: str
    evidence: str


def numbers(found: Interval) -> tuple[float, float, float]:
    """Estimate, low and high of an interval of one number."""
    return float(found.estimate), float(found.low), float(found.high)


def signed(value: Any) -> str:
    """A difference for a sentence: `+0.05`, `−0.12`."""
    return f"{float(value):+.2f}".replace("-", "−")


def because(withheld: str) -> str:
    """Why an interval is missing, as a sentence to append; empty if it is not."""
    return f" {withheld[0].upper()}{withheld[1:]}." if withheld else ""
