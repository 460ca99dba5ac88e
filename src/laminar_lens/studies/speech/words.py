"""A speech study's answer in a few sentences, each part as its claim has it."""

import math

from laminar_lens.studies.claim import UNDETERMINED, Claim
from laminar_lens.studies.speech.claims import NEGLIGIBLE, ratio
from laminar_lens.studies.speech.facts import HELD, Facts
from laminar_lens.words import banded, because, decimal, joined

_MATCHED_ON = "paths than adjectives, matched on frequency, pieces, position and length"
_LEAST = "by a hundredth or more"
_MATCHED = {
    "holds": f"Nouns have longer {_MATCHED_ON}",
    "shorter": f"Nouns have shorter {_MATCHED_ON}",
    "fails": f"Nouns do not have longer {_MATCHED_ON}, {_LEAST}",
    "undetermined": f"Whether nouns have longer {_MATCHED_ON}, is undetermined",
}
_PLAIN = {
    "holds": "they have longer ones",
    "shorter": "they have shorter ones",
    "fails": f"they do not have longer ones, {_LEAST}",
    "undetermined": "they may or may not have longer ones",
}
_SAME = {
    "holds": "says the same, ",
    "fails": "says otherwise, ",
    "undetermined": "says nothing that could be compared",
}


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in a few sentences."""
    parts = _claimed(facts, claims) if claims else []
    parts.append(_all(facts))
    missing = facts.withheld() if math.isfinite(float(facts.effect.estimate.ravel()[0])) else ""
    return " ".join(parts) + because(missing)


def _claimed(facts: Facts, claims: dict[str, Claim]) -> list[str]:
    matched, plain, published = (claims[name] for name in ("N1", "N2", "N3"))
    said = (
        f"{_MATCHED[_kind(matched)]}: {_times(matched)} ({facts.n} {facts.measured.observed}); as they are "
    )
    parts = [f"{said}{_PLAIN[_kind(plain)]}: {_times(plain)}."]
    if math.isfinite(published.estimate):
        longer = published.estimate > 1 + NEGLIGIBLE
        what = f"{'' if longer else 'not '}longer by more than a hundredth"
        what = "" if published.verdict == UNDETERMINED else what
        parts.append(
            "The published form, which takes a class's mean state in a plane instead of each word's own path "
            f"in all dimensions, {_SAME[published.verdict]}{what}: {decimal(published.estimate, 3)} times as "
            "long."
        )
    return parts


def _kind(claim: Claim) -> str:
    """Its verdict, or that they are shown to be shorter, by as much as `_all` asks for."""
    return "shorter" if claim.high < 1 and claim.low <= 1 / (1 + NEGLIGIBLE) else claim.verdict


def _all(facts: Facts) -> str:
    """Which pairs of classes differ in path length, matched; less than `NEGLIGIBLE` is as long, as in N1."""
    longer, open_, least, banded = [], 0, 1 + NEGLIGIBLE, False
    for first, second in facts.pairs:
        _, low, high = ratio(facts, "path", (first, second), HELD[1])
        banded |= math.isfinite(low)
        if low > 1 and high >= least:
            longer.append(f"{first} than {second}")
        elif high < 1 and low <= 1 / least:
            longer.append(f"{second} than {first}")
        else:
            open_ += 1
    n = len(facts.pairs)
    at_once = ", by a band that holds for all ratios at once" if banded else ""
    if not longer:
        of = f"Of {n} pair{'s' * (n > 1)} of classes"
        return f"{of}, none is shown to differ in path length {_LEAST}, matched{at_once}."
    other = f"the other {open_} of {n} pairs {'are' if open_ > 1 else 'is'}"
    rest = f"; {other} not shown to differ {_LEAST}" if open_ else ""
    return f"Matched{at_once}, these have longer paths: {joined(longer)}{rest}."


def _times(claim: Claim) -> str:
    if not math.isfinite(claim.estimate):
        return "no ratio is defined"
    number = banded(claim.estimate, claim.low, claim.high, 3, join=" to ", marks=(1,))
    return f"{number} times as long"
