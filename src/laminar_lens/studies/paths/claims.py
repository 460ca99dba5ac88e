"""What is said of paths along the layers, each part answered for the model at hand.

| claim | holds | fails |
|---|---|---|
| P1a–c | path length and logit correlate: the interval of r excludes 0 | it lies inside ±0.1 |
| P2a–c | so do path length and log-probability | it lies inside ±0.1 |
| P3 | the norm grows by every block between the first and the last, on average | it shrinks |

r is Pearson's, the mean over texts of each text's own correlation along its positions: (a) of every position,
(b) without position 0, (c) without it and with token frequencies held fixed. An interval inside ±0.1 is no
correlation to speak of, even where it excludes 0. Intervals hold at once for all correlations that are told:
raw and relative lengths, both predictions, Pearson's and Spearman's, (a)–(c). P3: for all parts of the model,
with and without position 0.
"""

import numpy as np

from laminar_lens.stats.bootstrap import mapped
from laminar_lens.studies.claim import UNDETERMINED, Claim, above, decided, numbers, verdict, worded
from laminar_lens.studies.paths.correlations import METHODS
from laminar_lens.studies.paths.facts import HELD, LENGTHS, PARTS, PREDICTED, WHICH, Facts
from laminar_lens.words import bracketed, decimal, number

NEGLIGIBLE = 0.1
"""Cohen's (1988) small correlation."""
PUBLISHED_GROWTH = 1.045
"""Factor a layer by which norms were said to grow in GPT2-XL."""
WORDS = {"logit": "logit", "log_prob": "log-probability"}
NUMBERED = {"logit": "P1", "log_prob": "P2"}
LETTERS = dict(zip(("a", "b", "c"), HELD, strict=True))
TEXTS = {
    **{
        f"{NUMBERED[predicted]}{letter}": f"path length and the {WORDS[predicted]} of the true next token "
        f"correlate{ending} (r shown to be within ±{NEGLIGIBLE:g} counts as none)"
        for predicted in PREDICTED
        for letter, ending in {
            "a": "",
            "b": ", without position 0",
            "c": ", without position 0 and with token frequency held fixed",
        }.items()
    },
    "P3": f"the norm grows from layer to layer (GPT2-XL: {PUBLISHED_GROWTH:g} times a layer)",
}


def answer_claims(facts: Facts) -> dict[str, Claim]:
    """The claims P1a–P3."""
    found = {
        f"{NUMBERED[predicted]}{letter}": correlation_claim(facts, predicted, held)
        for predicted in PREDICTED
        for letter, held in LETTERS.items()
    }
    return worded(found | {"P3": growth_claim(facts)}, TEXTS)


def correlation_claim(facts: Facts, predicted: str, held: str) -> Claim:
    """P1 and P2, of the raw path by Pearson's correlation; the others are told beside."""
    found = correlation(facts, predicted, held)
    if not np.isfinite(found[0]):
        said = "No correlation is defined: texts have too few positions with a next token, or nothing varies."
        return Claim(UNDETERMINED, evidence=said)
    fails = found[1] > -NEGLIGIBLE and found[2] < NEGLIGIBLE
    shown_so = verdict((found[1] > 0 or found[2] < 0) and not fails, fails)
    rank = correlation(facts, predicted, held, method="spearman")
    where = "without position 0, " if held == HELD[2] else ""
    relative = correlation(facts, predicted, held, length="relative path")
    said = (
        f"{(where + held).capitalize()}. By ranks (Spearman) {_number(rank)}; of steps relative to the norm "
        f"{_number(relative)}; p = {number(p_value(facts, predicted, held))} of the test that it is 0, "
        "adjusted for all correlations."
    )
    if held == HELD[0]:
        pooled = facts.pooled[0, PREDICTED.index(predicted), 0]
        said += (
            f" Over the tokens of all texts at once, as published, it is {decimal(pooled)}: that mixes what "
            "varies between texts with what varies within one, and has no interval, as tokens of one text "
            "are not independent."
        )
    reason = f"its interval holds 0 and reaches beyond ±{NEGLIGIBLE:g}"
    return decided(Claim(shown_so, *found, "r", said), facts.correlation.withheld, reason)


def growth_claim(facts: Facts) -> Claim:
    """P3, without position 0: where that is a sink, its norm says nothing of the others'."""
    found = growth(facts, "middle blocks", WHICH[1])
    if not np.isfinite(found[0]):
        return Claim(UNDETERMINED, evidence="No block lies between the first and the last.")
    every, first, last = (growth(facts, part, WHICH[1])[0] for part in ("every block", PARTS[0], PARTS[2]))
    said = (
        f"Geometric mean a block over those between the first and the last, without position 0. The first "
        f"block: {decimal(first, 3)} times, the last: {decimal(last, 3)}, every block: {decimal(every, 3)}; "
        f"with position 0 the middle blocks: {decimal(growth(facts, 'middle blocks', WHICH[0])[0], 3)}."
    )
    claim = Claim(above(found, 1), *found, "times", said)
    return decided(claim, facts.growth.withheld, "its interval holds 1")


def correlation(
    facts: Facts, predicted: str, held: str, *, length: str = "path", method: str = "pearson"
) -> tuple[float, float, float]:
    """The mean over texts with its interval."""
    at = LENGTHS.index(length), PREDICTED.index(predicted), METHODS.index(method), HELD.index(held)
    return numbers(facts.correlation, *at)


def p_value(facts: Facts, predicted: str, held: str) -> float:
    """Of the raw path by Pearson's correlation."""
    if facts.flips is None:
        return float("nan")
    shape = facts.correlations.shape[1:]
    return float(facts.flips.p.reshape(shape)[0, PREDICTED.index(predicted), 0, HELD.index(held)])


def growth(facts: Facts, part: str, which: str) -> tuple[float, float, float]:
    """Factor a block, geometric mean over a part's blocks, positions and texts, with its interval."""
    return numbers(mapped(np.exp, facts.growth), WHICH.index(which), PARTS.index(part))


def _number(found: tuple[float, float, float]) -> str:
    return bracketed(*found) or "not defined"
