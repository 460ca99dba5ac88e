"""One answer to one claim, and the words that every answer uses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from laminar_lens.stats.bootstrap import Interval
from laminar_lens.words import because as because
from laminar_lens.words import capitalised
from laminar_lens.words import signed as signed

UNDETERMINED, NOT_APPLICABLE = "undetermined", "not applicable"


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
        text: what is claimed, in words.
        reason: why it is undetermined, as a sentence; empty where it is not.
    """

    verdict: str
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    evidence: str = ""
    text: str = ""
    reason: str = ""


def numbers(found: Interval, *at: int) -> tuple[float, float, float]:
    """Estimate, low and high of an interval of one number, or of one of its places."""
    estimate, low, high = (float(np.asarray(end)[at]) for end in (found.estimate, found.low, found.high))
    return estimate, low, high


def verdict(holds: bool | np.bool_, fails: bool | np.bool_) -> str:
    """What is said of a claim that was shown to hold, or to fail, or neither."""
    return "holds" if holds else "fails" if fails else UNDETERMINED


def above(found: tuple[float, float, float], threshold: float) -> str:
    """The verdict of the claim that a number, given with its interval, is above a threshold."""
    return verdict(found[1] > threshold, found[2] < threshold)


def decided(claim: Claim, withheld: str, reason: str) -> Claim:
    """The claim with why it is undetermined, where it is: an interval was withheld, or else the reason."""
    if claim.verdict != UNDETERMINED:
        return claim
    return replace(claim, reason=because(withheld or reason).strip())


def worded(claims: Mapping[str, Claim], texts: Mapping[str, str]) -> dict[str, Claim]:
    """The claims with what each says; one without a number says in its evidence why it is undetermined."""
    return {
        name: replace(
            claim,
            text=texts[name],
            reason=claim.reason
            or (claim.evidence if claim.verdict == UNDETERMINED and math.isnan(claim.estimate) else ""),
        )
        for name, claim in claims.items()
    }


def claim_columns(claims: Mapping[str, Claim]) -> dict[str, Any]:
    """Claims as variables `claim_…` over the coordinate `claim`; what is claimed, why and why not begin as
    sentences do."""
    columns = {
        f"claim_{one.name}": ("claim", [getattr(claim, one.name) for claim in claims.values()])
        for one in fields(Claim)
    }
    for name in ("claim_text", "claim_evidence", "claim_reason"):
        columns[name] = ("claim", list(map(capitalised, columns[name][1])))
    return {"claim": ("claim", list(claims)), **columns} if claims else {}
