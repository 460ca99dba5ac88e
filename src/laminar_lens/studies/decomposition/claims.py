"""What a decomposition study claims, each answered for the model at hand, and the sentence of its answer.

| claim | holds | fails |
|---|---|---|
| W1 | the cosine of the writes to a token is a discovery in some layer | in none, and all within ±0.05 |
| W2 | that cosine, on average, is within ±0.1 in every layer | it is beyond in some layer |
| W3 | MLPs write longer vectors than attention, over all layers | shorter ones |
| W4 | of a step's squared length, most turns, on average, in every layer | most does not, in some layer |

W1's null are writes from other tokens of the same text and layer: what every token of a layer is given,
such as a bias, makes no relation; what a position is given may. It is tested by sign flips of texts, one
layer at a time, and the layers that are named are discoveries at a false discovery rate of 5% (Benjamini and
Yekutieli). The other verdicts are decided by 95% bands over layers; W3 by a 95% interval.
"""

import numpy as np

from laminar_lens.stats.bootstrap import MIN_TEXTS
from laminar_lens.stats.false_discovery import LEVEL
from laminar_lens.studies.claim import (
    NOT_APPLICABLE,
    UNDETERMINED,
    Claim,
    above,
    because,
    decided,
    numbers,
    signed,
    verdict,
    worded,
)
from laminar_lens.studies.decomposition.facts import Facts
from laminar_lens.studies.layers import named_layers
from laminar_lens.words import decimal

ALIKE, ORTHOGONAL, HALF = 0.05, 0.1, 0.5
TEXTS = {
    "W1": "attention's and the MLP's writes to a token are related, unlike those to different tokens",
    "W2": "they are close to orthogonal in every layer on average (mean cosine within ±0.1)",
    "W3": "MLPs write longer vectors than attention",
    "W4": "steps turn more than they lengthen or shorten, in every layer on average",
}
RATE = f"false discovery rate {LEVEL:.0%}"


def answer_claims(facts: Facts) -> dict[str, Claim]:
    """The claims W1–W4."""
    found = {"W4": turning_claim(facts)}
    if np.isfinite(facts.cosine.estimate).any():
        found |= {"W1": related_claim(facts), "W2": orthogonal_claim(facts), "W3": longer_claim(facts)}
    else:
        silent = Claim(NOT_APPLICABLE, evidence="In no layer do both attention and the MLP write.")
        found |= dict.fromkeys(("W1", "W2", "W3"), silent)
    return worded({name: found[name] for name in TEXTS}, TEXTS)


def related_claim(facts: Facts) -> Claim:
    """W1."""
    band, related = facts.difference, facts.related
    known = np.isfinite(band.estimate)
    if not known.any():
        return Claim(NOT_APPLICABLE, evidence="No text has two tokens to compare.")
    row = largest(band.estimate, related if related.any() else known)
    layer, number = facts.layers[row], numbers(band, row)
    same, other = facts.cosine.estimate[row], float(facts.other.estimate[row])
    said = (
        f"In layer {layer}, where it is most, the cosine is {decimal(same)} to the same token and "
        f"{decimal(other)} to different ones."
    )
    if facts.n < MIN_TEXTS["mean"]:
        why = f"{facts.n} texts, and its test was validated from {MIN_TEXTS['mean']} up"
        return decided(Claim(UNDETERMINED, *number, "", f"{said}{because(why)}"), why, "")
    if related.any():
        many = f"{int(related.sum())} of {int(np.isfinite(facts.p).sum())} layers"
        named = named_layers(facts.layers, related)
        return Claim("holds", *number, "", f"A difference in {many} ({RATE}): {named}. {said}")
    inside = (band.low > -ALIKE) & (band.high < ALIKE)
    within = f" Every band is within ±{ALIKE}." if inside[known].all() else ""
    said = f"No layer is a discovery.{within} {said}{because(band.withheld)}"
    claim = Claim(verdict(False, inside[known].all()), *number, "", said)
    open_ = named_layers(facts.layers, known & ~inside)
    reason = f"no layer is a discovery, and in {open_} the band reaches beyond ±{ALIKE}"
    return decided(claim, band.withheld, reason)


def orthogonal_claim(facts: Facts) -> Claim:
    """W2."""
    band = facts.cosine
    row, known = largest(band.estimate, np.isfinite(band.estimate)), np.isfinite(band.estimate)
    inside = (band.low > -ORTHOGONAL) & (band.high < ORTHOGONAL)
    beyond = beyond_orthogonal(facts)
    where = f"It is beyond ±{ORTHOGONAL} in {named_layers(facts.layers, beyond)}. " if beyond.any() else ""
    where = f"Every band is within ±{ORTHOGONAL}. " if inside[known].all() else where
    said = f"{where}It is farthest from 0 in layer {facts.layers[row]}: {signed(band.estimate[row])}."
    shown_so = verdict(inside[known].all(), beyond.any())
    claim = Claim(shown_so, *numbers(band, row), "", said + because(band.withheld))
    reason = f"in {named_layers(facts.layers, known & ~inside)} the band holds ±{ORTHOGONAL}"
    return decided(claim, band.withheld, reason)


def beyond_orthogonal(facts: Facts) -> np.ndarray:
    """In which layers the mean cosine is shown to be beyond ±0.1."""
    return np.asarray((facts.cosine.low > ORTHOGONAL) | (facts.cosine.high < -ORTHOGONAL))


def longer_claim(facts: Facts) -> Claim:
    """W3."""
    found, ratio = facts.overall, facts.ratio.estimate
    if not np.isfinite(found.estimate):
        return Claim(NOT_APPLICABLE, evidence="In no layer do both attention and the MLP write.")
    number = numbers(found)
    ends = [int(np.nanargmin(ratio)), int(np.nanargmax(ratio))]
    least, most = (f"{ratio[row]:.2f} in layer {facts.layers[row]}" for row in ends)
    said = f"MLPs' writes over attention's, geometric mean: by layer from {least} to {most}."
    claim = Claim(above(number, 1), *number, "times as long", said + because(found.withheld))
    return decided(claim, found.withheld, "its interval holds 1")


def turning_claim(facts: Facts) -> Claim:
    """W4."""
    band = facts.radial
    known = np.isfinite(band.estimate)
    if not known.any():
        return Claim(NOT_APPLICABLE, evidence="In no layer is anything written.")
    over, under = band.low > HALF, band.high < HALF
    row, shown_so = int(np.nanargmax(band.estimate)), verdict(under[known].all(), over.any())
    where = f"More than half in {named_layers(facts.layers, over)}. " if over.any() else ""
    said = f"{where}The largest share along the residual is in layer {facts.layers[row]}."
    claim = Claim(shown_so, *numbers(band, row), "of the squared length", said + because(band.withheld))
    reason = f"in {named_layers(facts.layers, known & ~under)} the band holds a half"
    return decided(claim, band.withheld, reason)


def largest(values: np.ndarray, among: np.ndarray) -> int:
    """Row of the value that is farthest from 0."""
    return int(np.argmax(np.where(among, np.abs(np.nan_to_num(values)), -1)))
