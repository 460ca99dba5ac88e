"""What is said of trajectories, each part answered for the model at hand.

| claim | holds | fails |
|---|---|---|
| T1 | the plane leaves out under half of each two groups' squared distance in each layer | over half |
| T2 | each two groups are farther apart in the last third of layers than in the first | some are nearer |
| T3 | position 0 has over half of the first axis' variance | less than half |

"Is" means the whole 95% interval, simultaneous over groups and layers. The axes are given: intervals are
those of the prompts. T2 is of distances over the norm, and p of sign flips of prompts, adjusted for all
pairs, is 0.05 or less, too. T3 is not applicable where position 0 is left out. Where groups have prompts of
their own, distances are those of their means.
"""

import numpy as np

from laminar_lens.studies.claim import NOT_APPLICABLE, UNDETERMINED, Claim, decided, worded
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.trajectories.facts import LEVEL, SPACES, Facts
from laminar_lens.words import decimal, interval, joined, number, percent, share

HALF = 0.5
TEXTS = {
    "T1": "two principal axes show over half of the squared distance between any two words' {states}, in "
    "every layer (the number: most that they leave out)",
    "T2": "words' {states} are farther apart, over their norm, in the last third of the layers than in the "
    "first (the number: least difference)",
    "T3": "the first axis is position 0: it has over half of that axis' variance",
}


def answer_claims(facts: Facts) -> dict[str, Claim]:
    """The claims T1–T3."""
    states = "states" if facts.measured.paired else "mean states"
    texts = {name: text.format(states=states) for name, text in TEXTS.items()}
    return worded({"T1": plane(facts), "T2": parting(facts), "T3": first(facts)}, texts)


def is_first(claims: dict[str, Claim]) -> bool:
    """Whether the first axis is shown to be position 0."""
    return claims["T3"].verdict == "holds"


def plane(facts: Facts) -> Claim:
    """T1; the number is the largest share that is left out."""
    found = facts.hidden
    defined = np.isfinite(found.estimate)
    if not defined.any():
        nothing = "differ in any prompt" if facts.measured.paired else "are farther apart than by chance"
        return Claim(UNDETERMINED, unit="1", evidence=f"No two groups {nothing}.")
    same = ~defined & (facts.published[SPACES.index("full")] == 0)
    under, over = (found.high < HALF) | same, found.low > HALF
    verdict = "fails" if over.any() else "holds" if under.all() else UNDETERMINED
    at = np.unravel_index(int(np.where(defined, found.estimate, -np.inf).argmax()), defined.shape)
    said = (
        f"The number is the largest share that they leave out, of {facts.names[at[0]]} in layer "
        f"{facts.measured.layer[at[1]]}. More than half is shown to be left out in "
        f"{_where(facts, over)}, less "
        f"than half, of every two groups, in "
        f"{named_layers(facts.measured.layer[(under & defined).all(axis=0)].tolist())}. The two axes have "
        f"{explained(facts)} of the variance of all layers and tokens, the axes given."
    )
    numbers = float(found.estimate[at]), float(found.low[at]), float(found.high[at])
    return decided(Claim(verdict, *numbers, "1", said), found.withheld, _open(facts, ~under, defined))


def _open(facts: Facts, unknown: np.ndarray, defined: np.ndarray) -> str:
    """Where T1 is not shown, and why not."""
    found = []
    if (wide := unknown & defined).any():
        found.append(f"the band reaches over half in {_where(facts, wide)}")
    if (apart := unknown & ~defined).any():
        found.append(
            f"the means of two groups are not farther apart than by chance in {_where(facts, apart)}"
        )
    return "; ".join(found)


def explained(facts: Facts) -> str:
    """The share of the variance that the plane has, with its interval."""
    found = facts.explained_so_far
    low, high = found.low[1], found.high[1]
    ends = f" [{interval(low, high, 1, join=', ', write=percent)}]" if np.isfinite(low) else ""
    return f"{percent(found.estimate[1], 1)}{ends}"


def parting(facts: Facts) -> Claim:
    """T2; the number is the least difference."""
    found = facts.parting
    if not np.isfinite(found.estimate).any():
        return Claim(UNDETERMINED, unit="1", evidence="No relative distance is defined.")
    more, less = ((end & (facts.p <= LEVEL)) for end in (found.low > 0, found.high < 0))
    verdict = "fails" if less.any() else "holds" if more.all() else UNDETERMINED
    at = int(np.where(np.isfinite(found.estimate), found.estimate, np.inf).argmin())
    said = (
        f"Farther apart in the last third: {_listed(facts, more)}; nearer: {_listed(facts, less)}. The "
        f"number is that of {facts.names[at]}{_with_p(float(facts.p[at]))}."
    )
    numbers = float(found.estimate[at]), float(found.low[at]), float(found.high[at])
    reason = f"the interval of {_listed(facts, ~(more | less))} holds 0, or p is over {LEVEL:g}"
    return decided(Claim(verdict, *numbers, "1", said), found.withheld, reason)


def first(facts: Facts) -> Claim:
    """T3."""
    found = facts.first_share
    if found is None:
        return Claim(NOT_APPLICABLE, evidence="Position 0 is left out of the PCA.")
    one, low, high = (float(end[0]) for end in (found.estimate, found.low, found.high))
    verdict = "holds" if low > HALF else "fails" if high < HALF else UNDETERMINED
    axis = share(facts.measured.explained[0])
    said = f"The first axis has {axis} of the variance of all states, and position 0 {decimal(one)} of that."
    if not np.isfinite(one):
        return Claim(UNDETERMINED, unit="1", evidence="The share of position 0 is not defined.")
    return decided(Claim(verdict, one, low, high, "1", said), found.withheld, "its interval holds a half")


def hiding(facts: Facts) -> list[int]:
    """Layers where the plane is shown to leave out over half of some two groups' distance."""
    found: list[int] = facts.measured.layer[(facts.hidden.low > HALF).any(axis=0)].tolist()
    return found


def _with_p(p: float) -> str:
    said = f", with p = {number(p)} of sign flips of prompts that it is 0, adjusted for all pairs"
    return said if np.isfinite(p) else ""


def _where(facts: Facts, chosen: np.ndarray) -> str:
    return named_layers(facts.measured.layer[chosen.any(axis=0)].tolist())


def _listed(facts: Facts, chosen: np.ndarray) -> str:
    return joined([name for name, one in zip(facts.names, chosen, strict=True) if one]) or "none"
