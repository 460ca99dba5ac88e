"""Who writes the sink, what is erased of it and by whom: claims S4 and S5."""

import numpy as np

from laminar_lens.models.families import WRITES
from laminar_lens.stats.bootstrap import Interval, mean_interval
from laminar_lens.stats.sinks import NORM_RATIO
from laminar_lens.studies.claim import (
    NOT_APPLICABLE,
    UNDETERMINED,
    Claim,
    above,
    because,
    decided,
    numbers,
    verdict,
)
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.sinks.facts import HALF, Facts

MLP = WRITES.index("mlp")
WRITER = 0.1
"""A block writes or erases if it accounts for more than this share of the growth."""
NONE = "There is no such vector."
NORMED = "The last hidden state is taken after the final norm, which no block writes."


def writing_claim(facts: Facts, long: Claim) -> Claim:
    """S4: MLPs' share of the growth from the embedding to the longest."""
    if why := _not_applicable(facts, long, written=True):
        return Claim(NOT_APPLICABLE, evidence=why)
    if facts.embedded:
        return Claim("fails", evidence=_in_the_embedding(facts))
    return _by_mlps(facts, written=True)


def erased_claim(facts: Facts, long: Claim) -> Claim:
    """S5a: the share of its length over the median that is gone in the last hidden state."""
    if why := _no_last(facts, long):
        return Claim(NOT_APPLICABLE, evidence=why)
    gone, (most, last) = facts.erased, facts.by_place.estimate[[facts.peak, -1], 0]
    said = (
        f"From {most:.1f} times the median in layer {facts.longest} to {last:.1f} in the last hidden state."
    )
    number = numbers(gone)
    claim = Claim(above(number, HALF), *number, "of it", said + because(gone.withheld))
    return decided(claim, gone.withheld, "its interval holds a half")


def by_mlps_claim(facts: Facts, long: Claim) -> Claim:
    """S5b: MLPs' share of its decline after the longest."""
    if why := _not_applicable(facts, long, written=False):
        return Claim(NOT_APPLICABLE, evidence=why)
    return _by_mlps(facts, written=False)


def left_claim(facts: Facts, long: Claim) -> Claim:
    """S5c: whether it is a sink by its length in the last hidden state."""
    if why := _no_last(facts, long):
        return Claim(NOT_APPLICABLE, evidence=why)
    band, number = facts.by_place, numbers(facts.by_place, -1, 0)
    shown_so = verdict(number[2] < NORM_RATIO, number[1] > NORM_RATIO)
    said = f"A sink is over {NORM_RATIO:g} times as long as the median.{because(band.withheld)}"
    claim = Claim(shown_so, *number, "times", said)
    return decided(claim, band.withheld, f"its band holds {NORM_RATIO:g} times the median")


def _not_applicable(facts: Facts, long: Claim, *, written: bool) -> str:
    """Why nothing can be said of who writes it, or erases it; empty if it can."""
    if long.verdict == "fails":
        return NONE
    if facts.geometry != "raw":
        return "What blocks write adds up in the geometry 'raw' only."
    if not facts.is_whole(written=written):
        where = f"up to layer {facts.longest}" if written else f"after layer {facts.longest}"
        return f"Not every layer {where}, where it is longest, is measured."
    return (
        NORMED if facts.measured.final_norm and (not written or facts.longest == facts.measured.last) else ""
    )


def _no_last(facts: Facts, long: Claim) -> str:
    """Why nothing can be said of it in the last hidden state; empty if it can."""
    if long.verdict == "fails":
        return NONE
    if facts.layers[-1] != facts.measured.last:
        return "The last hidden state is not measured."
    return NORMED if facts.measured.final_norm else ""


def _by_mlps(facts: Facts, *, written: bool) -> Claim:
    blocks, moved = facts.stretch(written=written), _moved(facts, written=written)
    verb = "grow" if written else "shrink"
    if moved.high <= 0:
        return Claim("fails", evidence=_unmoved(facts, written=written))
    if not moved.estimate > 0 or moved.low <= 0:
        unclear = f"Whether its length {verb}s is undetermined.{because(moved.withheld)}"
        return Claim(UNDETERMINED, evidence=unclear)
    size, how = f"It {verb}s by {moved.estimate:.4g}", by_blocks(facts, written=written)
    if facts.measured.write is None or facts.undecomposed(blocks):
        return Claim(UNDETERMINED, evidence=f"{size}, {how}.")
    total = float(moved.estimate if written else -moved.estimate)
    share = facts.measured.write[:, blocks, MLP, 0].sum(axis=1) / total
    found = mean_interval(share, groups=facts.groups, seed=facts.seed)
    number, said = numbers(found), f"{size}, {how}.{because(found.withheld)}"
    claim = Claim(above(number, HALF), *number, "of it by MLPs", said)
    return decided(claim, found.withheld, "its interval holds a half")


def _moved(facts: Facts, *, written: bool) -> Interval:
    """By how much its length grows up to the longest, or shrinks after it."""
    norm = facts.measured.norm[:, :, 0]
    change = norm[:, facts.peak] - norm[:, 0 if written else -1]
    return mean_interval(change, groups=facts.groups, seed=facts.seed)


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


def by_blocks(facts: Facts, *, written: bool) -> str:
    """Which blocks write it, or erase it, as far as that is shown and their steps are decomposed."""
    blocks, (names, most) = facts.stretch(written=written), named_blocks(facts, written=written)
    if gone := facts.undecomposed(blocks):
        gaps = f"{_named(gone)} {'is' if len(gone) == 1 else 'are'} not decomposed"
        return f"by {names}; {gaps}" if names else f"by which block is not known: {gaps}"
    if facts.writes is None or not np.isfinite(facts.writes.low).any():
        return "by which blocks is not shown"
    if most:
        return f"by {names}"
    return f"in many small steps, the largest by {names}" if names else "in many small steps"


def _named(blocks: list[int]) -> str:
    return named_layers(blocks, kind="block")


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
