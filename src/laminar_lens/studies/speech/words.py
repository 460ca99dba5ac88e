"""A speech study's answer in a few sentences, each part as its claim has it."""

import math

from laminar_lens.studies.claim import Claim
from laminar_lens.studies.speech.claims import NEGLIGIBLE, ratio
from laminar_lens.studies.speech.facts import HELD, Facts
from laminar_lens.words import because, decimal, interval, joined

_BETWEEN = "longer paths than adjectives, matched on frequency, pieces, position and length"
_MATCHED = {
    "holds": f"Nouns have {_BETWEEN}",
    "fails": f"Nouns do not have {_BETWEEN}",
    "undetermined": f"Whether nouns have {_BETWEEN}, is undetermined",
}
_PLAIN = {"holds": "they do", "fails": "they do not", "undetermined": "they may or may not"}
_SAME = {
    "holds": "says the same",
    "fails": "says otherwise",
    "undetermined": "says nothing that could be compared",
}


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in a few sentences."""
    parts = _claimed(facts, claims) if claims else []
    parts.append(_all(facts))
    missing = facts.effect.withheld if math.isfinite(float(facts.effect.estimate.ravel()[0])) else ""
    return " ".join(parts) + because(missing)


def _claimed(facts: Facts, claims: dict[str, Claim]) -> list[str]:
    matched, plain, published = (claims[name] for name in ("N1", "N2", "N3"))
    said = (
        f"{_MATCHED[matched.verdict]}: {_times(matched)} ({facts.n} {facts.measured.observed}); as they are "
    )
    parts = [f"{said}{_PLAIN[plain.verdict]}: {_times(plain)}."]
    if math.isfinite(published.estimate):
        parts.append(
            "The published form, which takes a class's mean state in a plane instead of each word's own path "
            f"in all dimensions, {_SAME[published.verdict]}: {decimal(published.estimate, 3)} times as long."
        )
    return parts


def _all(facts: Facts) -> str:
    """Which pairs of classes differ in path length, matched; less than `NEGLIGIBLE` is as long, as in N1."""
    longer, open_, least = [], 0, 1 + NEGLIGIBLE
    for first, second in facts.pairs:
        _, low, high = ratio(facts, "path", (first, second), HELD[1])
        if low > 1 and high >= least:
            longer.append(f"{first} than {second}")
        elif high < 1 and low <= 1 / least:
            longer.append(f"{second} than {first}")
        else:
            open_ += 1
    n = len(facts.pairs)
    if not longer:
        of = f"Of {n} pair{'s' * (n > 1)} of classes"
        return f"{of}, none is shown to differ in path length by a hundredth or more, matched."
    other = f"the other {open_} of {n} pairs {'are' if open_ > 1 else 'is'}"
    rest = f"; {other} not shown to differ by a hundredth or more" if open_ else ""
    return f"Matched, these have longer paths: {joined(longer)}{rest}."


def _times(claim: Claim) -> str:
    if not math.isfinite(claim.estimate):
        return "no ratio is defined"
    ci = ""
    if math.isfinite(claim.low):
        ci = f" (95% band {interval(claim.low, claim.high, 3, join=' to ')})"
    return f"{decimal(claim.estimate, 3)}{ci} times as long"
