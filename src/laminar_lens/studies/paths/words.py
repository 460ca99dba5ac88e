"""A path study's answer in a few sentences, each part as its claim has it."""

import numpy as np

from laminar_lens.studies.claim import Claim, numbers
from laminar_lens.studies.paths.claims import NEGLIGIBLE, NUMBERED, WORDS, growth
from laminar_lens.studies.paths.facts import WHICH, Facts
from laminar_lens.words import banded, because

_SAID = {
    "holds": "correlate",
    "fails": f"do not correlate to speak of (within ±{NEGLIGIBLE:g})",
    "undetermined": "may or may not correlate",
}
_THEN = {"holds": "do", "fails": "do not to speak of", "undetermined": "may or may not"}
_GROWS = {
    "holds": "The norm grows",
    "fails": "The norm shrinks",
    "undetermined": "Whether the norm grows is undetermined",
}


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in a few sentences."""
    parts = [_path(facts), _norm(facts, claims["P3"])]
    parts += [_correlation(predicted, claims) for predicted in WORDS]
    defined = np.isfinite(facts.correlation.estimate).any()
    return " ".join(parts) + because(facts.correlation.withheld if defined else "")


def _path(facts: Facts) -> str:
    found = facts.by_layer["tortuosity"]
    which = WHICH.index("without position 0")
    ends = numbers(found, which, -1)
    if not np.isfinite(ends[0]):
        return f"In {facts.n} texts no path ends away from where it began."
    return (
        f"A token's path through all layers is {_number(ends)} times as long as the distance that it covers "
        f"({facts.n} texts, without position 0)."
    )


def _norm(facts: Facts, claim: Claim) -> str:
    found = growth(facts, "middle blocks", WHICH[1])
    if not np.isfinite(found[0]):
        return "There is no block between the first and the last to say whether the norm grows."
    join = "," if claim.verdict != "undetermined" else ":"
    size = _number(found, 3, mark=1)
    return f"{_GROWS[claim.verdict]}{join} {size} times a block between the first and the last."


def _correlation(predicted: str, claims: dict[str, Claim]) -> str:
    every, without, held = (claims[f"{NUMBERED[predicted]}{letter}"] for letter in "abc")
    name = f"Path length and the {WORDS[predicted]} of the true next token"
    if not np.isfinite(every.estimate):
        return f"{name}: no correlation is defined."
    said = f"{name} {_SAID[every.verdict]}: r = {_of(every)}"
    if np.isfinite(without.estimate):
        said += f"; without position 0 they {_then(without, every)}, {_of(without)}"
    if np.isfinite(held.estimate):
        said += "; without position 0 and with token frequency held fixed they "
        said += f"{_then(held, every)}, {_of(held)}"
    return f"{said}."


def _then(claim: Claim, every: Claim) -> str:
    """What is so then, and whether it is the opposite of what is so of every position."""
    turned = claim.verdict == every.verdict == "holds" and claim.estimate * every.estimate < 0
    return f"{_THEN[claim.verdict]}{', the other way round' if turned else ''}"


def _of(claim: Claim) -> str:
    return _number((claim.estimate, claim.low, claim.high))


def _number(found: tuple[float, float, float], digits: int = 2, mark: int = 0) -> str:
    return banded(*found, digits, join=" to ", marks=(mark,))
