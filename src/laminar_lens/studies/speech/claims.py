"""What is said of nouns and adjectives along the layers, answered for the model at hand.

| claim | holds | fails |
|---|---|---|
| N1 | nouns have longer paths than adjectives, matched: the band of the ratio lies above 1 | below 1.01 |
| N2 | so do they as they are | below 1.01 |
| N3 | the published form, of mean states in a plane, is above 1.01 just where N1 holds | it is not |

The ratio is of geometric means of words' own path lengths in full dimension, within each text, then the
geometric mean over texts. What is shown to be less than 1% longer is as long. Bands hold at once for all
pairs of classes and all measures, as they are and matched; what is said goes by them, and p, of another test,
stands beside. N3 has no interval: the published form has none, and up to 1% longer is as long.
"""

import math

import numpy as np

from laminar_lens.stats.bootstrap import mapped
from laminar_lens.studies.claim import UNDETERMINED, Claim, decided, numbers, verdict, worded
from laminar_lens.studies.speech.facts import HELD, MEASURES, Facts
from laminar_lens.words import bracketed, decimal, number, percent

NEGLIGIBLE = 0.01
"""A path that is longer by a smaller share is as long."""
PAIR = ("nouns", "adjectives")
TEXTS = {
    "N1": "nouns have longer paths than adjectives, matched on frequency, pieces, position and length (it "
    "fails where they are shown to be less than 1% longer)",
    "N2": "nouns have longer paths than adjectives, as they are (it fails where they are shown to be less "
    "than 1% longer)",
    "N3": "the published form, the path of a class's mean state in a plane, says the same as N1, longer or "
    "not (up to 1% longer is as long)",
}

Numbers = tuple[float, float, float]


def answer_claims(facts: Facts) -> dict[str, Claim]:
    """The claims N1–N3; none where nouns and adjectives are not compared."""
    if PAIR not in facts.pairs:
        return {}
    matched = longer(facts, HELD[1])
    return worded({"N1": matched, "N2": longer(facts, HELD[0]), "N3": published(facts, matched)}, TEXTS)


def longer(facts: Facts, held: str) -> Claim:
    """N1 and N2."""
    found = ratio(facts, "path", PAIR, held)
    if not math.isfinite(found[0]):
        return Claim(UNDETERMINED, evidence=f"{held.capitalize()}, no two texts tell nouns from adjectives.")
    fails = found[2] < 1 + NEGLIGIBLE
    shown_so = verdict(found[1] > 1 and not fails, fails)
    winding, turn = (told(ratio(facts, name, PAIR, held)) for name in ("tortuosity", "rotation"))
    at = place(facts, "path", PAIR, held)
    evidence = f"{held.capitalize()}. The ratio of tortuosities is {winding}, of rotations a layer {turn}."
    if math.isfinite(facts.p[at]):
        evidence += (
            f" By sign flips, p = {number(float(facts.p[at]))} that the ratio of paths is 1, adjusted for "
            "all classes and measures; the verdict goes by the band."
        )
    reason = f"its band reaches from 1 or below to {1 + NEGLIGIBLE:g} or beyond"
    return decided(Claim(shown_so, *found, "times", evidence), facts.withheld(*at), reason)


def published(facts: Facts, matched: Claim) -> Claim:
    """N3."""
    found = published_ratio(facts, PAIR)
    if not math.isfinite(found):
        return Claim(UNDETERMINED, evidence="A class has no mean state.")
    whole = published_ratio(facts, PAIR, "mean")
    evidence = (
        f"It takes the mean of a class's states, and of that two dimensions; here {decimal(found, 3)} times, "
        f"in all dimensions {decimal(whole, 3)}. It has no interval, as words of one "
        f"text are not independent; up to {percent(NEGLIGIBLE)} longer is as long."
    )
    same = (found > 1 + NEGLIGIBLE) == (matched.verdict == "holds")
    shown_so = UNDETERMINED if matched.verdict == UNDETERMINED else "holds" if same else "fails"
    claim = Claim(shown_so, found, unit="times", evidence=evidence)
    return decided(claim, "", "it is undetermined which class has the longer path")


def ratio(facts: Facts, measure: str, pair: tuple[str, str], held: str) -> Numbers:
    """The first class's over the second's, geometric mean over texts, with its interval."""
    return numbers(mapped(np.exp, facts.effect), *place(facts, measure, pair, held))


def place(facts: Facts, measure: str, pair: tuple[str, str], held: str) -> tuple[int, int, int]:
    """Of a ratio among all: [measure pair held]."""
    return MEASURES.index(measure), facts.pairs.index(pair), HELD.index(held)


def published_ratio(facts: Facts, pair: tuple[str, str], form: str = "plane") -> float:
    """The first class's over the second's, of the paths of their mean states."""
    first, second = (facts.published[form][facts.classes.index(name)] for name in pair)
    return float(first / second) if second > 0 else math.nan


def told(found: Numbers) -> str:
    """A ratio with its interval."""
    return bracketed(*found, 3, marks=(1,)) or "not defined"
