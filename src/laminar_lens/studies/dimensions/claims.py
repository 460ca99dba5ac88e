"""What a dimension study claims, each of one kind of pair in one geometry, and the sentence of its answer.

| claim | three dimensions make over half of the cosine |
|---|---|
| D1 | of the first pair |
| D2 | between position 0 and the body |
| D3 | of neighbours in the body |
| D4 | of the first pair, also after the mean of other texts is removed |

A claim holds if in some layer they do, and add more to the cosine than the three largest of two random
directions do (`random_reach`): where a cosine is nearly 0 because its parts cancel, three make over half of
it in any model. It fails if in every layer they do not, or add less than that. Both are decided by a 95% band
over layers, in texts that did not choose the dimensions. D1–D3 are of vectors in the study's geometry, D4 of
the same, centred; where that geometry already is centred, D4 is not applicable.

The evidence names two more nulls, on which no verdict rests: the angle without as many dimensions drawn at
random, matched in number alone, and what as many of like size would make of the cosine (null.py).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laminar_lens.stats.bootstrap import Interval, simultaneous_band
from laminar_lens.studies.claim import NOT_APPLICABLE, Claim, because, decided, signed, verdict
from laminar_lens.studies.dimensions.cosines import PAIRS
from laminar_lens.studies.dimensions.measure import Contributions, Removal
from laminar_lens.studies.dimensions.null import FEWEST, LEVEL, LikeSize, random_reach
from laminar_lens.studies.layers import named_layers
from laminar_lens.words import interval, percent, with_ends

FEW, HALF = 3, 0.5
CLAIMS = {"D1": (0, "first"), "D2": (0, "first_body"), "D3": (0, "body"), "D4": (1, "first")}
WORDS = {
    "first": "of the first pair",
    "first_body": "between position 0 and the body",
    "body": "of neighbours in the body",
}
TEXTS = {
    "D1": "three dimensions make over half of the cosine of the first pair",
    "D2": "three dimensions make over half of the cosine between position 0 and the body",
    "D3": "three dimensions make over half of the cosine of neighbours in the body",
    "D4": "three dimensions still do so in the first pair after centring on other texts",
}


@dataclass(frozen=True, eq=False)
class Halves:
    """What was measured.

    Attributes:
        before, after: contributions in the texts that choose, and in those that are measured.
        order: [geometry pairs layer d_model], dimensions by their contribution in the texts that choose.
        removal: what the first of them do in the texts that are measured.
        like: what random dimensions of like size would make of the cosine.
        geometries: names, of the study's geometry and, where it is not centred, of the same centred.
        texts, groups: which texts were measured, and their groups.
    """

    before: Contributions
    after: Contributions
    order: np.ndarray
    removal: Removal
    like: LikeSize
    geometries: tuple[str, ...]
    layers: tuple[int, ...]
    texts: np.ndarray
    groups: np.ndarray | None
    seed: int

    @cached_property
    def reach(self) -> np.ndarray:
        """What the few largest dimensions of two random directions add to their cosine, in 99 of 100; of as
        many dimensions as are not 0, [geometry pairs layer]."""
        widths = (self.before.size > 0).sum(-1)
        found = np.full(widths.shape, np.nan)
        for width in np.unique(widths[widths > 0]).tolist():
            found[widths == width] = random_reach(width, FEW)
        return found

    def adds(self, geometry: int, kind: int, row: int) -> float:
        """What the few add to the mean cosine, in one layer."""
        return float(self.removal.part[geometry, kind, row, :, :FEW].sum(-1).mean())

    def share(self, geometry: int, kind: int) -> np.ndarray:
        """By layer, the few dimensions' share of the mean cosine.

        A share of the mean is no mean of shares: where a text's cosine is near 0, its share is anything.
        """
        part = self.removal.part[geometry, kind, :, :, :FEW].sum(-1).mean(1)
        whole = self.removal.cosine[geometry, kind].mean(1)
        return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0))

    def bands(self, geometry: int, kind: int) -> tuple[Interval, Interval]:
        """By layer, in the direction of the cosine: what the few add to it, and that less half of it."""
        part = self.removal.part[geometry, kind, :, :, :FEW].sum(-1)
        cosine = self.removal.cosine[geometry, kind]
        sign = np.sign(self.before.cosine[geometry, kind])[:, None]
        adds, margin = (
            simultaneous_band((sign * values).T, groups=self.groups, seed=self.seed)
            for values in (part, part - HALF * cosine)
        )
        return adds, margin


def few_claim(facts: Halves, geometry: int, name: str) -> Claim:
    """Whether a few dimensions make over half of a kind of pair's cosine, in some layer."""
    if geometry >= len(facts.geometries):
        said = f"The geometry {facts.geometries[0]} is already centred."
        return Claim(NOT_APPLICABLE, evidence=said)
    kind = PAIRS.index(name)
    share, (adds, margin) = facts.share(geometry, kind), facts.bands(geometry, kind)
    reach = facts.reach[geometry, kind]
    above = (margin.low > 0) & (adds.low > reach)
    below = (margin.high < 0) | (adds.high < reach)
    shown_so = verdict(above.any(), below.all())
    more = adds.estimate > reach
    if not more.any():
        row = int(np.argmax(np.nan_to_num(adds.estimate - reach, nan=-np.inf)))
        said = f"{_chance(facts, geometry, kind, row)}{because(adds.withheld)}"
        return Claim(shown_so, unit="of the cosine", evidence=said)
    open_ = named_layers(facts.layers, ~above & ~below)
    reason = f"in {open_} the band holds half, or what two random directions add"
    row = int(np.argmax(np.where(above if above.any() else more, share, -np.inf)))
    scale = abs(float(facts.removal.cosine[geometry, kind, row].mean()))
    ends = (HALF + end[row] / scale if scale > 0 else np.nan for end in (margin.low, margin.high))
    low, high = map(float, ends)
    where = f"So it is in {named_layers(facts.layers, above)}. " if above.any() else ""
    said = f"{where}{_evidence(facts, geometry, kind, row)}{because(margin.withheld)}"
    claim = Claim(shown_so, float(share[row]), low, high, "of the cosine", said)
    return decided(claim, margin.withheld, reason)


def _chance(facts: Halves, geometry: int, kind: int, row: int) -> str:
    """What the few add where it is no more than chance."""
    adds, reach = facts.adds(geometry, kind, row), facts.reach[geometry, kind, row]
    return (
        f"Where three dimensions add most, in layer {facts.layers[row]}, it is {signed(adds)} to the cosine; "
        f"those of two random directions add up to ±{reach:.2f}."
    )


def _evidence(facts: Halves, geometry: int, kind: int, row: int) -> str:
    """One layer in numbers: which dimensions, what they add, the angle with and without, and the nulls."""
    at = (geometry, kind, row)
    names = ", ".join(map(str, facts.order[at][:FEW]))
    with_all, without = (float(facts.removal.angle[at][:, k].mean()) for k in (0, FEW))
    random = interval(*np.quantile(facts.removal.null[at][:, FEW], [0.025, 0.975]))
    return (
        f"In layer {facts.layers[row]} they are {names} and add {signed(facts.adds(*at))} to the cosine (of "
        f"two random directions: up to ±{facts.reach[at]:.2f}): the angle is {with_all:.2f} rad, without "
        f"them {without:.2f}, without {FEW} at random {random}. {_like_words(facts.like, at)}"
    )


def _like_words(like: LikeSize, at: tuple[int, int, int]) -> str:
    """What dimensions of like size would make, or that there are none."""
    if like.others[at] < FEWEST:
        n = int(like.others[at])
        many = "no dimension is" if n == 0 else f"only {n} {'is' if n == 1 else 'are'}"
        return f"No null of like size: beside these, {many} half to twice as large as {like.rare[at]}."
    shown = "are" if like.p[at] <= LEVEL else "are not"
    ends = interval(like.low[at], like.high[at], 0, join=" to ", write=percent)
    return (
        f"{FEW} of like size would make {ends} of the cosine: these "
        f"{shown} shown to make more than their size accounts for."
    )


def sentence(facts: Halves, claims: dict[str, Claim]) -> str:
    """The answer in a few sentences: the first pair, then where else, then after centring."""
    first = claims["D1"]
    size, ends = with_ends(first.estimate, first.low, first.high, 0, write=percent, marks=(HALF,))
    ci = f", 95% band {ends}" if ends else ""
    if first.verdict == "holds":
        text = f"Three dimensions make over half of the first pair's cosine ({size}{ci}). {first.evidence}"
    elif first.verdict == "fails" and not np.isfinite(first.estimate):
        text = f"No three dimensions make the first pair's cosine. {first.evidence}"
    elif first.verdict == "fails":
        text = (
            "No three dimensions make half of the first pair's cosine: where they add more than chance, at "
            f"most {size}{ci}."
        )
    elif not np.isfinite(first.estimate):
        text = f"Undetermined whether three dimensions make half of the first pair's cosine. {first.evidence}"
    else:
        text = f"Undetermined whether three dimensions make half of the first pair's cosine: {size}{ci}."
    others = [WORDS[CLAIMS[name][1]] for name in ("D2", "D3") if claims[name].verdict == "holds"]
    if others:
        text += f" Three dimensions also make over half of the cosine {' and '.join(others)}."
    if claims["D4"].verdict == NOT_APPLICABLE:
        return text
    verb = {"holds": "make", "fails": "do not make", "undetermined": "may or may not make"}
    return f"{text} After centring on other texts, three dimensions {verb[claims['D4'].verdict]} half of it."
