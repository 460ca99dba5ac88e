"""What is said of rotations along the layers, each part answered for the model at hand.

| claim | holds | fails |
|---|---|---|
| R1a | the target's mean turn over the middle blocks is 0.1–0.2 rad | it is outside |
| R1b | so is that of each middle block | some block's is outside |
| R2 | first and last block turn it more than each between | some block between turns it more than one |
| R3 | target and word before differ by less than τ in each layer | by more in some layer |

"Is" means the whole 95% interval, simultaneous over layers (R1a: over parts of the model).
"""

import numpy as np

from laminar_lens.stats.bootstrap import Interval
from laminar_lens.studies.claim import NOTHING, UNDETERMINED, Claim, decided, worded
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.rotation.facts import LEVEL, PARTS, PLACES, Facts
from laminar_lens.words import decimal

PUBLISHED = (0.1, 0.2)
"""Radians that a token was said to turn from one layer to the next."""
NOT_APPLICABLE = "not applicable"
TEXTS = {
    "R1a": "in {between} (not the first and last block) the target turns by 0.1–0.2 rad a block on average",
    "R1b": "in each of {between} it turns by 0.1–0.2 rad (the number: most in one of them)",
    "R2": "it turns most in the first and in the last block (the number: least margin over one between)",
    "R3": "target and word before it turn alike (within {tau:g} rad in each layer; the number: "
    "largest difference)",
}


def answer_claims(facts: Facts) -> dict[str, Claim]:
    """The claims R1–R3."""
    found = {
        "R1a": middle_claim(facts),
        "R1b": each_claim(facts),
        "R2": ends_claim(facts),
        "R3": alike_claim(facts),
    }
    return worded(
        found, {name: text.format(tau=facts.tau, between=facts.between) for name, text in TEXTS.items()}
    )


def middle_claim(facts: Facts) -> Claim:
    """R1a; the published mean, over every block, is told beside it."""
    if not facts.middle.any():
        return Claim(NOT_APPLICABLE, *NOTHING, "", "No layer between the first and the last was measured.")
    found = of_part(facts, "middle blocks")
    low, high = PUBLISHED
    verdict = UNDETERMINED
    if low <= found[1] and found[2] <= high:
        verdict = "holds"
    elif found[1] > high or found[2] < low:
        verdict = "fails"
    every = of_part(facts, "every block")[0]
    which = "every block, as published" if facts.is_whole else "every block measured"
    said = f"Over {which}, the mean is {decimal(every, 3)} rad; the first and the last are not in the number."
    reason = (
        f"its interval holds {' and '.join(f'{end:g}' for end in PUBLISHED if found[1] < end < found[2])} rad"
    )
    return decided(Claim(verdict, *found, "rad", said), facts.by_part.withheld, reason)


def each_claim(facts: Facts) -> Claim:
    """R1b, with the largest middle rotation as its number."""
    if not facts.middle.any():
        return Claim(NOT_APPLICABLE, *NOTHING, "", "No layer between the first and the last was measured.")
    ends = (facts.by_layer.estimate, facts.by_layer.low, facts.by_layer.high)
    estimate, low, high = (end[0, facts.middle] for end in ends)
    inside = (low >= PUBLISHED[0]) & (high <= PUBLISHED[1])
    outside = (low > PUBLISHED[1]) | (high < PUBLISHED[0])
    verdict = "fails" if outside.any() else "holds" if inside.all() else UNDETERMINED
    layers = np.array(facts.layers)[facts.middle]
    said = (
        f"Of {len(layers)} layers {int(inside.sum())} are shown to be inside, {int(outside.sum())} "
        f"outside{_where(layers, outside)}. The number is the largest, in layer {_at(layers, estimate)}."
    )
    found = _largest(estimate, low, high)
    reason = f"the band crosses an end of the range in {named_layers(layers[~inside].tolist())}"
    return decided(Claim(verdict, *found, "rad", said), facts.by_layer.withheld, reason)


def ends_claim(facts: Facts) -> Claim:
    """R2; the number is the least difference between an end and a block between."""
    if not (facts.has_both_ends and facts.middle.any()):
        return Claim(
            NOT_APPLICABLE, *NOTHING, "", "It needs the first layer, the last and one between: measure them."
        )
    more = facts.ends_over_middle
    verdict = "holds" if (more.low > 0).all() else "fails" if (more.high < 0).any() else UNDETERMINED
    layers = np.array(facts.layers)[facts.middle]
    said = []
    for row, name in enumerate(("first", "last")):
        shown = int((more.low[row] > 0).sum())
        less = more.high[row] < 0
        said.append(
            f"The {name} block turns it more than {shown or 'none'} of the {len(layers)} between, and less "
            f"than {int(less.sum()) or 'none'} of them{_where(layers, less)}."
        )
    flat = [np.ravel(end) for end in (more.estimate, more.low, more.high)]
    found = _largest(-flat[0], -flat[2], -flat[1])
    numbers = (-found[0], -found[2], -found[1])
    open_ = [name for row, name in enumerate(("first", "last")) if not (more.low[row] > 0).all()]
    reason = f"the {' and the '.join(open_)} block is not shown to turn it more than each between"
    return decided(Claim(verdict, *numbers, "rad", " ".join(said)), more.withheld, reason)


def alike_claim(facts: Facts) -> Claim:
    """R3; the number is the largest difference in either direction."""
    found = facts.difference
    inside = (found.low > -facts.tau) & (found.high < facts.tau)
    verdict = "fails" if beyond(facts) else "holds" if inside.all() else UNDETERMINED
    layers = np.array(facts.layers)
    more, less = facts.different(1), facts.different(-1)
    said = (
        f"The target is shown to turn more in {named_layers(more)}, less in {named_layers(less)} (paired "
        f"sign flips, p ≤ {LEVEL:g} adjusted for all layers). By over {facts.tau:g} rad they differ in "
        f"{named_layers(beyond(facts))}."
    )
    at = _index(np.abs(found.estimate))
    numbers = float(found.estimate[at]), float(found.low[at]), float(found.high[at])
    reason = f"the band reaches beyond {facts.tau:g} rad in {named_layers(layers[~inside].tolist())}"
    return decided(Claim(verdict, *numbers, "rad", said), found.withheld, reason)


def beyond(facts: Facts) -> list[int]:
    """Layers where target and word before it are shown to differ by more than τ."""
    found = facts.difference
    outside = (found.low > facts.tau) | (found.high < -facts.tau)
    return [layer for layer, is_one in zip(facts.layers, outside, strict=True) if is_one]


def of_part(facts: Facts, part: str) -> tuple[float, float, float]:
    """The target's mean over the blocks of a part, with its interval."""
    at = PLACES.index("target"), PARTS.index(part)
    found: Interval = facts.by_part
    return float(found.estimate[at]), float(found.low[at]), float(found.high[at])


def _index(values: np.ndarray) -> int:
    """Of the largest; 0 where there is none."""
    return int(np.where(np.isfinite(values), values, -np.inf).argmax())


def _largest(estimate: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float, float]:
    at = _index(estimate)
    return float(estimate[at]), float(low[at]), float(high[at])


def _at(layers: np.ndarray, values: np.ndarray) -> int:
    return int(layers[_index(values)])


def _where(layers: np.ndarray, chosen: np.ndarray) -> str:
    return f" ({named_layers(layers[chosen].tolist())})" if chosen.any() else ""
