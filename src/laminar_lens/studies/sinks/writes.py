"""Who writes the sink and who erases it: claims S4 and S5, and the words for both."""

import numpy as np

from laminar_lens.models.families import WRITES
from laminar_lens.stats.bootstrap import Interval, mean_interval
from laminar_lens.stats.sinks import NORM_RATIO
from laminar_lens.studies.claim import NOTHING, Claim, because, numbers
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.sinks.facts import HALF, Facts

MLP = WRITES.index("mlp")
WRITER = 0.1
"""A block writes or erases if it accounts for more than this share of the growth."""
NOT_APPLICABLE = "not applicable"


def writing_claim(facts: Facts, long: Claim) -> Claim:
    """S4: MLPs' share of the growth from the embedding to the longest."""
    if why := _not_applicable(facts, long, written=True):
        return Claim(NOT_APPLICABLE, *NOTHING, "", why)
    if facts.embedded:
        return Claim("fails", *NOTHING, "", _in_the_embedding(facts))
    return _by_mlps(facts, written=True)


def erasing_claim(facts: Facts, long: Claim) -> Claim:
    """S5: whether it is gone in the last hidden state, and MLPs' share of its decline."""
    if why := _not_applicable(facts, long, written=False):
        return Claim(NOT_APPLICABLE, *NOTHING, "", why)
    low, high = facts.by_place.low[-1, 0], facts.by_place.high[-1, 0]
    if low > NORM_RATIO:
        last = f"In the last hidden state it still is {facts.by_place.estimate[-1, 0]:.1f} times the median."
        return Claim("fails", *NOTHING, "", last)
    claim = _by_mlps(facts, written=False)
    if claim.verdict == "holds" and not high < NORM_RATIO:
        return Claim("undetermined", claim.estimate, claim.low, claim.high, claim.unit, claim.evidence)
    return claim


def _not_applicable(facts: Facts, long: Claim, *, written: bool) -> str:
    """Why nothing can be said of who writes it, or erases it; empty if it can."""
    if long.verdict == "fails":
        return "There is no such vector."
    if facts.geometry != "raw":
        return "What blocks write adds up in the geometry 'raw' only."
    if not facts.is_whole(written=written):
        where = f"up to layer {facts.longest}" if written else f"after layer {facts.longest}"
        return f"Not every layer {where}, where it is longest, is measured."
    if facts.measured.final_norm and (not written or facts.longest == facts.measured.last):
        return "The last hidden state is taken after the final norm, which no block writes."
    return ""


def _by_mlps(facts: Facts, *, written: bool) -> Claim:
    blocks, moved = facts.stretch(written=written), _moved(facts, written=written)
    verb = "grow" if written else "shrink"
    if moved.high <= 0:
        return Claim("fails", *NOTHING, "", _unmoved(facts, written=written))
    if not moved.estimate > 0 or moved.low <= 0:
        unclear = f"Whether its length {verb}s is undetermined.{because(moved.withheld)}"
        return Claim("undetermined", *NOTHING, "", unclear)
    size, (names, most) = f"It {verb}s by {moved.estimate:.4g}", named_blocks(facts, written=written)
    if facts.measured.write is None or facts.undecomposed(blocks):
        return Claim("undetermined", *NOTHING, "", f"{size}, {_by(names)} ({_gaps(facts, blocks)}).")
    total = float(moved.estimate if written else -moved.estimate)
    share = facts.measured.write[:, blocks, MLP, 0].sum(axis=1) / total
    interval = mean_interval(share, groups=facts.groups, seed=facts.seed)
    verdict = "holds" if interval.low > HALF else "fails" if interval.high < HALF else "undetermined"
    how = f"mostly by {names}" if most else _in_steps(names)
    how = how if _enough(facts) else "by which blocks is not shown"
    return Claim(verdict, *numbers(interval), "of it by MLPs", f"{size}, {how}.{because(interval.withheld)}")


def _moved(facts: Facts, *, written: bool) -> Interval:
    """By how much its length grows up to the longest, or shrinks after it."""
    norm = facts.measured.norm[:, :, 0]
    change = norm[:, facts.peak] - norm[:, 0 if written else -1]
    return mean_interval(change, groups=facts.groups, seed=facts.seed)


def _in_steps(names: str) -> str:
    return f"in many small steps, the largest by {names}" if names else "in many small steps"


def named_blocks(facts: Facts, *, written: bool) -> tuple[str, bool]:
    """The blocks' components that are shown to account for more than a tenth of the growth, in words; and
    whether together they make most of what is written (or taken away) there."""
    if facts.writes is None:
        return "", False
    inside = np.zeros(len(facts.writes.estimate), dtype=bool)
    inside[facts.stretch(written=written)] = True
    big = facts.writes.low > WRITER if written else facts.writes.high < -WRITER
    parts, made = [], float(facts.writes.estimate[big & inside[:, None]].sum())
    for row, name in enumerate(WRITES):
        found = facts.measured.block[big[:, row] & inside].tolist()
        if found:
            parts.append(f"{'MLPs' if name == 'mlp' else 'attention'} of {_named(found)}")
    whole = float(np.nansum(facts.writes.estimate[inside]))
    return " and ".join(parts), bool(parts) and abs(made) > HALF * abs(whole)


def writing_words(facts: Facts) -> str:
    """Who writes it, for the sentence."""
    if facts.embedded:
        first = 0 in facts.long_layers
        return "in the embedding already" if first else "its length is the embedding's, the others shrink"
    blocks, (names, most) = facts.stretch(written=True), named_blocks(facts, written=True)
    if gaps := _gaps(facts, blocks):
        return f"written{'' if names else ','} {_by(names)} ({gaps})"
    return f"written by {names}" if most else f"written {_in_steps(names)}"


def erasing_words(facts: Facts) -> str:
    """Who erases it, for the sentence."""
    blocks, (names, most) = facts.stretch(written=False), named_blocks(facts, written=False)
    gaps = _gaps(facts, blocks)
    if not gaps and most:
        return f"erased by {names}"
    if not gaps:
        moved = _moved(facts, written=False)
        shown = "erased " + _in_steps(names) if moved.low > 0 else "whether a block erases it is undetermined"
        return "no block erases it" if moved.high <= 0 else shown
    norm = facts.measured.norm[:, :, 0].mean(axis=0)
    if names or norm[-1] < (1 - WRITER) * norm[facts.peak]:
        return f"erased{'' if names else ','} {_by(names)} ({gaps})"
    return f"whether a block erases it is not known ({gaps})"


def _by(names: str) -> str:
    return f"by {names}" if names else "by which block is not known"


def _gaps(facts: Facts, blocks: slice) -> str:
    """Which of some blocks are not decomposed into their writes, in words; empty if none."""
    gone = facts.undecomposed(blocks)
    return f"{_named(gone)} {'is' if len(gone) == 1 else 'are'} not decomposed" if gone else ""


def _named(blocks: list[int]) -> str:
    return named_layers(blocks).replace("layer", "block")


def _enough(facts: Facts) -> bool:
    """Whether there are enough texts to show of a block that it writes."""
    return facts.writes is not None and bool(np.isfinite(facts.writes.low).any())


def _in_the_embedding(facts: Facts) -> str:
    if facts.peak == 0:
        return "It is longest in the embedding already."
    return (
        f"In the embedding already it has {facts.embedded:.0%} of its length in layer {facts.longest}, where "
        "it is longest against the median."
    )


def _unmoved(facts: Facts, *, written: bool) -> str:
    if written:
        return f"Its length does not grow up to layer {facts.longest}: that of the others falls."
    if facts.peak == facts.ratio.shape[1] - 1:
        return "It is longest against the median in the last hidden state."
    after = f"Its length does not shrink after layer {facts.longest}"
    return f"{after}: it falls against the median because the others grow."
