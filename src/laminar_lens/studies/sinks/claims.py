"""What attention-sink research says of position 0, each part answered for the model at hand.

| claim | holds | fails |
|---|---|---|
| S1 | length at position 0 above 5 times the text's median in some layer | below it in every layer |
| S2 | some head's mean attention to position 0 above 0.3 | below it in every head |
| S3 | most texts have a published massive activation there | fewer than half |
| S4 | MLPs give more than half of its growth to the longest | less than half, or the embedding has it |
| S5a | more than half of it is gone in the last hidden state | less than half |
| S5b | MLPs take more than half of its decline away | less than half, or it does not shrink |
| S5c | it is below 5 times the median in the last hidden state | above it |
| S6 | more than 1 text in 20 has such a vector beside position 0 | fewer |

"Above" and "below" mean the whole 95% interval, simultaneous over layers, positions and heads. S4 and S5
ask about a sink and are not applicable where S1 fails.

S2 answers for each head by its mean over texts; the number beside it is another one, the share of heads above
0.3 in a text, averaged over texts (the sink rate of arXiv 2410.10781). A few heads may make the claim hold
where the share is small, and a share above 0 says of no head that it does so in general.
"""

import numpy as np

from laminar_lens.stats.bootstrap import mean_interval
from laminar_lens.stats.sinks import HEAD_SHARE, NORM_RATIO, share_interval, within_shares
from laminar_lens.studies.claim import UNDETERMINED, Claim, above, because, decided, numbers, verdict, worded
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.sinks.facts import HALF, Facts
from laminar_lens.studies.sinks.numbers import VARIANTS
from laminar_lens.studies.sinks.writes import by_mlps_claim, erased_claim, left_claim, writing_claim

FEW_TEXTS = 0.05

TEXTS = {
    "S1": "the vector at position 0 is much longer than others (over 5 times the median)",
    "S2": "some heads' attention rests on position 0 (mean above 0.3 over texts of {length})",
    "S3": "position 0 has massive activations (over 100 and over 1000 times the median)",
    "S4": "MLPs write it",
    "S5a": "most of it is gone in the last hidden state",
    "S5b": "MLPs take it away",
    "S5c": "it is a sink no longer in the last hidden state",
    "S6": "other tokens, such as delimiters and newlines, carry such vectors too",
}


def length_words(facts: Facts) -> str:
    """How many tokens a text has, as attention is counted over them."""
    bos = ", its BOS included" if facts.measured.bos else ""
    return f"{facts.ratio.shape[-1]} tokens{bos}"


def answer_claims(facts: Facts) -> dict[str, Claim]:
    """The claims S1–S6."""
    long = length_claim(facts)
    found = {
        "S1": long,
        "S2": attention_claim(facts),
        "S3": massive_claim(facts),
        "S4": writing_claim(facts, long),
        "S5a": erased_claim(facts, long),
        "S5b": by_mlps_claim(facts, long),
        "S5c": left_claim(facts, long),
        "S6": beside_claim(facts),
    }
    said = length_words(facts)
    return worded(found, {name: text.format(length=said) for name, text in TEXTS.items()})


def length_claim(facts: Facts) -> Claim:
    """S1."""
    band, row, layer = facts.by_place, facts.peak, facts.longest
    found = numbers(band, row, 0)
    if facts.long_layers:
        where = f"In {named_layers(facts.long_layers)} it is over {NORM_RATIO:g} times the median"
        return Claim("holds", *found, "times", f"{where}; most in layer {layer}.")
    said = f"At most {found[0]:.2f} times the text's median, in layer {layer}.{because(band.withheld)}"
    open_ = named_layers(facts.layers, ~(band.high[:, 0] < NORM_RATIO))
    reason = f"the band holds {NORM_RATIO:g} times the median in {open_}"
    return decided(Claim(verdict(False, facts.absent), *found, "times", said), band.withheld, reason)


def attention_claim(facts: Facts) -> Claim:
    """S2: the verdict by head, the estimate over all heads."""
    if facts.heads is None or facts.measured.resting is None:
        return Claim(UNDETERMINED, evidence=facts.unseen)
    share = facts.measured.resting[:, :, 0].mean(1)
    overall = within_shares(mean_interval(share, groups=facts.groups, seed=facts.seed))
    over, below = facts.heads.low > HEAD_SHARE, facts.heads.high < HEAD_SHARE
    blocks = named_layers(facts.measured.block, over.any(axis=1), kind="block")
    where = f", in {blocks}" if over.any() else ""
    heads = f"{over.size} heads{facts.of_blocks}"
    how = f"by their mean over texts of {length_words(facts)}"
    said = [
        f"{int(over.sum())} of {heads} are shown to be above {HEAD_SHARE}{where}, {how}; "
        f"{int(below.sum())} are below it.{because(facts.heads.withheld)}",
        "The number is the share of heads above it in a text, averaged over texts.",
    ]
    shown_so = verdict(over.any(), below.all())
    claim = Claim(shown_so, *numbers(overall), "of heads in a text", " ".join(said))
    reason = f"no head is shown to be above {HEAD_SHARE}, and {int((~below).sum())} may be"
    return decided(claim, facts.heads.withheld, reason)


def massive_claim(facts: Facts) -> Claim:
    """S3, as published; the scale-free variants are told beside it."""
    at_first = np.asarray(facts.massive[:, :, :, 0].any(axis=2))
    share = share_interval(at_first[0], groups=facts.groups)
    said = []
    for row, name in enumerate(VARIANTS):
        texts = int(at_first[row].sum())
        where = _where(facts, row) if texts else ""
        said.append(f"{name.replace('_', '-')}: {texts} of {at_first.shape[1]} texts{where}")
    claim = Claim(above(share, HALF), *share, "of texts", "; ".join(said) + ".")
    return decided(claim, "", "its interval holds half of the texts")


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
    return f", most of them in {named_layers(facts.measured.layer[layers].tolist())}{named}"


def beside_claim(facts: Facts) -> Claim:
    """S6."""
    beside = facts.sinks[:, 1:]
    share = share_interval(np.asarray(beside.any(axis=1)), groups=facts.groups)
    said = f"{int(beside.sum())} such tokens beside position 0."
    claim = Claim(above(share, FEW_TEXTS), *share, "of texts", said)
    return decided(claim, "", "its interval holds 1 text in 20")
