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

from laminar_lens.studies.claim import NOT_APPLICABLE, Claim, decided, numbers, verdict, worded
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.rotation.facts import LEVEL, PARTS, PLACES, Facts
from laminar_lens.words import decimal

PUBLISHED = (0.1, 0.2)
"""Radians that a token was said to turn from one layer to the next."""
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
        return Claim(NOT_APPLICABLE, evidence="No layer between the first and the last was measured.")
    found = of_part(facts, "middle blocks")
    low, high = PUBLISHED
    said_so = verdict(low <= found[1] and found[2] <= high, found[1] > high or found[2] < low)
    every = of_part(facts, "every block")[0]
    which = "every block, as published" if facts.is_whole else "every block measured"
    said = f"Over {which}, the mean is {decimal(every, 3)} rad; the first and the last are not in the number."
    reason = (
        f"its interval holds {' and '.join(f'{end:g}' for end in PUBLISHED if found[1] < end < found[2])} rad"
    )
    return decided(Claim(said_so, *found, "rad", said), facts.by_part.withheld, reason)


def each_claim(facts: Facts) -> Claim:
    """R1b, with the largest middle rotation as its number."""
    if not facts.middle.any():
        return Claim(NOT_APPLICABLE, evidence="No layer between the first and the last was measured.")
    band = facts.by_layer
    estimate, low, high = (end[0, facts.middle] for end in (band.estimate, band.low, band.high))
    inside = (low >= PUBLISHED[0]) & (high <= PUBLISHED[1])
    outside = (low > PUBLISHED[1]) | (high < PUBLISHED[0])
    layers, row = np.array(facts.layers)[facts.middle], _largest(estimate)
    said = (
        f"Of {len(layers)} layers {int(inside.sum())} are shown to be inside, {int(outside.sum())} "
        f"outside{_where(layers, outside)}. The number is the largest, in layer {layers[row]}."
    )
    found = numbers(band, 0, int(np.flatnonzero(facts.middle)[row]))
    reason = f"the band crosses an end of the range in {named_layers(layers, ~inside)}"
    claim = Claim(verdict(inside.all(), outside.any()), *found, "rad", said)
    return decided(claim, band.withheld, reason)


def ends_claim(facts: Facts) -> Claim:
    """R2; the number is the least difference between an end and a block between."""
    if not (facts.has_both_ends and facts.middle.any()):
        return Claim(
            NOT_APPLICABLE, evidence="It needs the first layer, the last and one between: measure them."
        )
    more = facts.ends_over_middle
    layers = np.array(facts.layers)[facts.middle]
    said = []
    for row, name in enumerate(("first", "last")):
        shown = int((more.low[row] > 0).sum())
        less = more.high[row] < 0
        said.append(
            f"The {name} block turns it more than {shown or 'none'} of the {len(layers)} between, and less "
            f"than {int(less.sum()) or 'none'} of them{_where(layers, less)}."
        )
    least = np.unravel_index(_largest(-more.estimate), more.estimate.shape)
    open_ = [name for row, name in enumerate(("first", "last")) if not (more.low[row] > 0).all()]
    reason = f"the {' and the '.join(open_)} block is not shown to turn it more than each between"
    shown_so = verdict((more.low > 0).all(), (more.high < 0).any())
    claim = Claim(shown_so, *numbers(more, *map(int, least)), "rad", " ".join(said))
    return decided(claim, more.withheld, reason)


def alike_claim(facts: Facts) -> Claim:
    """R3; the number is the largest difference in either direction."""
    found = facts.difference
    inside = (found.low > -facts.tau) & (found.high < facts.tau)
    more, less = facts.different(1), facts.different(-1)
    said = (
        f"The target is shown to turn more in {named_layers(more)}, less in {named_layers(less)} (paired "
        f"sign flips, p ≤ {LEVEL:g} adjusted for all layers). By over {facts.tau:g} rad they differ in "
        f"{named_layers(beyond(facts))}."
    )
    number = numbers(found, _largest(np.abs(found.estimate)))
    reason = f"the band reaches beyond {facts.tau:g} rad in {named_layers(facts.layers, ~inside)}"
    claim = Claim(verdict(inside.all(), bool(beyond(facts))), *number, "rad", said)
    return decided(claim, found.withheld, reason)


def beyond(facts: Facts) -> list[int]:
    """Layers where target and word before it are shown to differ by more than τ."""
    found = facts.difference
    outside = (found.low > facts.tau) | (found.high < -facts.tau)
    return [layer for layer, is_one in zip(facts.layers, outside, strict=True) if is_one]


def of_part(facts: Facts, part: str) -> tuple[float, float, float]:
    """The target's mean over the blocks of a part, with its interval."""
    return numbers(facts.by_part, PLACES.index("target"), PARTS.index(part))


def _largest(values: np.ndarray) -> int:
    """Place of the largest; 0 where there is none."""
    return int(np.where(np.isfinite(values), values, -np.inf).argmax())


def _where(layers: np.ndarray, chosen: np.ndarray) -> str:
    return f" ({named_layers(layers, chosen)})" if chosen.any() else ""
