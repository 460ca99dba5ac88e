"""One answer to one claim, and the words that every answer uses."""

from dataclasses import dataclass

from laminar_lens.stats.bootstrap import Interval
from laminar_lens.words import signed as signed

NOTHING = (float("nan"),) * 3
"""Estimate, low and high where there is no number."""


@dataclass(frozen=True)
class Claim:
    """One answer.

    Attributes:
        verdict: "holds", "fails" or "undetermined"; "not applicable" where the claim is about something that
            the model does not have, or that this measurement does not see. Of a cause (C8 of a why-study):
            "position", "context", "either", "jointly", "none" or "undetermined".
        estimate, low, high: a number with its 95% interval in `unit`; NaN where there is none, or it is
            withheld.
        evidence: sentences with the numbers behind it.
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


def because(withheld: str) -> str:
    """Why an interval is missing, as a sentence to append; empty if it is not."""
    return f" {withheld[0].upper()}{withheld[1:]}." if withheld else ""
