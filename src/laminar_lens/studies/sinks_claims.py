"""What attention-sink research says of position 0, each part answered for the model at hand.

| claim | holds | fails |
|---|---|---|
| S1 | length at position 0 above 5 times the text's median in some layer | below it in every layer |
| S2 | some head's mean attention to position 0 above 0.3 | below it in every head |
| S3 | most texts have a published massive activation there | fewer than half |
| S4 | MLPs give more than half of its growth to the longest | less than half |
| S5 | it is below 5 times the median at the end, and MLPs take more than half away | it stays, or others do |
| S6 | more than 1 text in 20 has such a vector beside position 0 | fewer |

"Above" and "below" mean the whole 95% interval, simultaneous over layers, positions and heads. S4 and S5 ask
about a sink and are not applicable where S1 fails.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laminar_lens.stats.bootstrap import Interval, mean_interval, simultaneous_band
from laminar_lens.stats.sinks import NORM_RATIO, share_interval
from laminar_lens.studies.answer import NOTHING, Claim, because, numbers
from laminar_lens.studies.comparison import named_layers
from laminar_lens.studies.sinks_measurement import COMPONENTS, HEAD_SHARE, VARIANTS, Sinks

MLP = COMPONENTS.index("mlp")
HALF = 0.5
FEW_TEXTS = 0.05
WRITER = 0.1
"""A block writes or erases if it accounts for more than this share of the growth."""
NOT_APPLICABLE = "not applicable"

TEXTS = {
    "S1": "the vector at position 0 is much longer than others (over 5 times the median)",
    "S2": "attention rests on position 0 (heads above 0.3 at this length)",
    "S3": "position 0 has massive activations (over 100 and over 1000 times the median)",
    "S4": "MLPs write it",
    "S5": "MLPs erase it before the end",
    "S6": "other tokens, such as delimiters and newlines, carry such vectors too",
}


@dataclass(frozen=True, eq=False)
class Facts:
    """What the claims rest on.

    Attributes:
        ratio: [text layer pos], length over the text's median.
        by_place: [layer pos], its geometric mean with a simultaneous band.
        heads: [block head], mean attention to position 0 with a simultaneous band.
        first: [text block head], the same by text.
        massive: [variant text layer pos].
    """

    ratio: np.ndarray
    by_place: Interval
    heads: Interval | None
    first: np.ndarray | None
    massive: np.ndarray
    measured: Sinks
    groups: np.ndarray | None
    seed: int

    @property
    def peak(self) -> int:
        """The hidden state in which position 0 is longest against the median."""
        return int(np.nanargmax(self.by_place.estimate[:, 0]))

    @cached_property
    def sinks(self) -> np.ndarray:
        """Whether a token is a sink by its length in some layer, [text pos]."""
        return np.asarray((np.nan_to_num(self.ratio) > NORM_RATIO).any(axis=1))

    @cached_property
    def writes(self) -> Interval | None:
        """[block component], share of position 0's growth up to its peak, with a simultaneous band."""
        growth = float((self.measured.norm[:, self.peak, 0] - self.measured.norm[:, 0, 0]).mean())
        if self.measured.write is None or growth <= 0:
            return None
        shares = self.measured.write[..., 0] / growth
        if not np.isfinite(shares).any():
            return None
        return simultaneous_band(shares, groups=self.groups, seed=self.seed)


def answer_claims(facts: Facts) -> dict[str, Claim]:
    """The claims S1–S6."""
    long = length_claim(facts)
    return {
        "S1": long,
        "S2": attention_claim(facts),
        "S3": massive_claim(facts),
        "S4": writing_claim(facts, long),
        "S5": erasing_claim(facts, long),
        "S6": beside_claim(facts),
    }


def length_claim(facts: Facts) -> Claim:
    """S1."""
    band, row = facts.by_place, facts.peak
    found = float(band.estimate[row, 0]), float(band.low[row, 0]), float(band.high[row, 0])
    above = np.flatnonzero(band.low[:, 0] > NORM_RATIO)
    if len(above):
        where = f"In {named_layers(above.tolist())} it is over {NORM_RATIO:g} times the median"
        return Claim("holds", *found, "times", f"{where}; most in layer {row}.")
    verdict = "fails" if (band.high[:, 0] < NORM_RATIO).all() else "undetermined"
    said = f"At most {found[0]:.2f} times the text's median, in layer {row}.{because(band.withheld)}"
    return Claim(verdict, *found, "times", said)


def attention_claim(facts: Facts) -> Claim:
    """S2: the verdict by head, the estimate over all heads."""
    if facts.heads is None or facts.measured.resting is None:
        return Claim("undetermined", *NOTHING, "", "The model shows no attention.")
    share = facts.measured.resting[:, :, 0].mean(1)
    overall = mean_interval(share, groups=facts.groups, seed=facts.seed)
    above, below = facts.heads.low > HEAD_SHARE, facts.heads.high < HEAD_SHARE
    verdict = "holds" if above.any() else "fails" if below.all() else "undetermined"
    blocks = np.flatnonzero(above.any(axis=1)).tolist()
    where = f", in {named_layers(blocks).replace('layer', 'block')}" if blocks else ""
    said = f"{int(above.sum())} of {above.size} heads are shown to be above {HEAD_SHARE}{where}; "
    said += f"{int(below.sum())} are below it.{because(facts.heads.withheld)}"
    return Claim(verdict, *numbers(overall), "of heads", said)


def massive_claim(facts: Facts) -> Claim:
    """S3, as published; the scale-free variants are told beside it."""
    at_first = np.asarray(facts.massive[:, :, :, 0].any(axis=2))
    share = share_interval(at_first[0], groups=facts.groups)
    verdict = "holds" if share[1] > HALF else "fails" if share[2] < HALF else "undetermined"
    said = []
    for row, name in enumerate(VARIANTS):
        texts = int(at_first[row].sum())
        where = _where(facts, row) if texts else ""
        said.append(f"{name.replace('_', '-')}: {texts} of {at_first.shape[1]} texts{where}")
    return Claim(verdict, *share, "of texts", "; ".join(said) + ".")


def _where(facts: Facts, row: int) -> str:
    """Layers of position 0's massive activations in most texts, and their dimensions in those layers."""
    layers = np.flatnonzero(facts.massive[row, :, :, 0].mean(axis=0) > HALF)
    if not len(layers):
        return ""
    counts = facts.measured.massive_first[row, layers]
    dimensions = np.flatnonzero((counts > HALF * len(facts.ratio)).any(axis=0))
    listed = ", ".join(map(str, dimensions[:5]))
    more = f" and {len(dimensions) - 5} more" if len(dimensions) > 5 else ""
    named = f", dimension{'s' if len(dimensions) > 1 else ''} {listed}{more}" if listed else ""
    return f", most of them in {named_layers(layers.tolist())}{named}"


def writing_claim(facts: Facts, long: Claim) -> Claim:
    """S4: MLPs' share of the growth from the embedding to the longest."""
    if long.verdict == "fails":
        return Claim(NOT_APPLICABLE, *NOTHING, "", "There is no such vector.")
    return _by_mlps(facts, slice(0, facts.peak), "grows", written=True)


def erasing_claim(facts: Facts, long: Claim) -> Claim:
    """S5: whether it is gone in the last hidden state, and MLPs' share of its decline."""
    if long.verdict == "fails":
        return Claim(NOT_APPLICABLE, *NOTHING, "", "There is no such vector.")
    low, high = facts.by_place.low[-1, 0], facts.by_place.high[-1, 0]
    if low > NORM_RATIO:
        last = f"In the last hidden state it still is {facts.by_place.estimate[-1, 0]:.1f} times the median."
        return Claim("fails", *NOTHING, "", last)
    claim = _by_mlps(facts, slice(facts.peak, None), "shrinks", written=False)
    if claim.verdict == "holds" and not high < NORM_RATIO:
        return Claim("undetermined", claim.estimate, claim.low, claim.high, claim.unit, claim.evidence)
    return claim


def _by_mlps(facts: Facts, blocks: slice, what: str, *, written: bool) -> Claim:
    norm, write = facts.measured.norm[:, :, 0], facts.measured.write
    change = float(
        (norm[:, facts.peak] - norm[:, 0] if written else norm[:, -1] - norm[:, facts.peak]).mean()
    )
    shares = facts.writes
    if write is None or shares is None or not np.isfinite(write[:, blocks]).all() or change == 0:
        return Claim("undetermined", *NOTHING, "", "Steps could not be decomposed into their writes.")
    if (change > 0) != written:
        return Claim("fails", *NOTHING, "", f"Its length never {what}.")
    share = write[:, blocks, MLP, 0].sum(axis=1) / change
    interval = mean_interval(share, groups=facts.groups, seed=facts.seed)
    verdict = "holds" if interval.low > HALF else "fails" if interval.high < HALF else "undetermined"
    names = block_names(shares, blocks, written=written)
    said = f"It {what} by {abs(change):.4g}" + (
        f", mostly by {names}." if names else ", in many small steps."
    )
    return Claim(verdict, *numbers(interval), "of it by MLPs", said + because(interval.withheld))


def block_names(shares: Interval, blocks: slice, *, written: bool) -> str:
    """The blocks' components that are shown to account for more than a tenth of the growth, in words."""
    inside = np.zeros(len(shares.estimate), dtype=bool)
    inside[blocks] = True
    big = shares.low > WRITER if written else shares.high < -WRITER
    parts = []
    for row, name in enumerate(COMPONENTS):
        found = np.flatnonzero(big[:, row] & inside).tolist()
        if found:
            word = "MLPs" if name == "mlp" else "attention"
            parts.append(f"{word} of {named_layers(found).replace('layer', 'block')}")
    return " and ".join(parts)


def beside_claim(facts: Facts) -> Claim:
    """S6."""
    beside = facts.sinks[:, 1:]
    share = share_interval(np.asarray(beside.any(axis=1)), groups=facts.groups)
    verdict = "holds" if share[1] > FEW_TEXTS else "fails" if share[2] < FEW_TEXTS else "undetermined"
    return Claim(verdict, *share, "of texts", f"{int(beside.sum())} such tokens beside position 0.")


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in one or two sentences."""
    n = len(facts.ratio)
    long, rests, beside = claims["S1"], claims["S2"], claims["S6"]
    size = f"{long.estimate:.1f} times the text's median length, in layer {facts.peak}"
    ci = (
        f" (95% band {long.low:.1f}–{long.high:.1f}, {n} texts)" if np.isfinite(long.low) else f" ({n} texts)"
    )
    if long.verdict == "holds":
        above = np.flatnonzero(facts.by_place.low[:, 0] > NORM_RATIO).tolist()
        text = f"Position 0 is a sink in {named_layers(above)}: up to {size}{ci}"
        if facts.writes is not None:
            wrote = block_names(facts.writes, slice(0, facts.peak), written=True)
            erased = block_names(facts.writes, slice(facts.peak, None), written=False)
            text += f"; written by {wrote}" if wrote else "; written in many small steps"
            text += f"; erased by {erased}" if erased else "; no block erases it"
        text += "."
    elif long.verdict == "fails":
        text = f"No sink at position 0 by length: at most {size}{ci}."
    else:
        text = f"Undetermined whether position 0 is a sink: {size}{ci}."
    return f"{text} {_attention_words(rests)}{_beside_words(beside)}"


def _attention_words(claim: Claim) -> str:
    if not np.isfinite(claim.estimate):
        return claim.evidence
    ci = f" (95% CI {claim.low:.0%}–{claim.high:.0%})" if np.isfinite(claim.low) else ""
    words = {
        "holds": "Attention rests on it",
        "fails": "Attention does not rest on it",
        "undetermined": "Whether attention rests on it is undetermined",
    }
    return f"{words[claim.verdict]}: {claim.estimate:.0%} of the heads give it over {HEAD_SHARE}{ci}."


def _beside_words(claim: Claim) -> str:
    if claim.verdict == "fails":
        return ""
    verb = "carry" if claim.verdict == "holds" else "may carry"
    return f" Tokens beside it {verb} such vectors in {claim.estimate:.0%} of the texts."
