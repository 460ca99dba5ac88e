"""A sink study's answer in one or two sentences."""

import numpy as np

from laminar_lens.stats.sinks import HEAD_SHARE
from laminar_lens.studies.claim import Claim
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.sinks.facts import Facts
from laminar_lens.studies.sinks.writes import NOT_APPLICABLE, erasing_words, writing_words
from laminar_lens.words import interval, share


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in one or two sentences."""
    n = len(facts.ratio)
    long, rests, beside = claims["S1"], claims["S2"], claims["S6"]
    size = f"{long.estimate:.1f} times the text's median length, in layer {facts.longest}"
    ci = (
        f" (95% band {interval(long.low, long.high, 1)}, {n} texts)"
        if np.isfinite(long.low)
        else f" ({n} texts)"
    )
    if long.verdict == "holds":
        text = f"Position 0 is a sink in {named_layers(facts.long_layers)}: up to {size}{ci}"
        text += "" if claims["S4"].verdict == NOT_APPLICABLE else f"; {writing_words(facts)}"
        text += "" if claims["S5"].verdict == NOT_APPLICABLE else f"; {erasing_words(facts)}"
        text += "."
    elif long.verdict == "fails":
        text = f"No sink at position 0 by length: at most {size}{ci}."
    else:
        text = f"Undetermined whether position 0 is a sink: {size}{ci}."
    where = [f"in the geometry {facts.geometry!r}"] if facts.geometry != "raw" else []
    where += [f"of {named_layers(facts.layers)}"] if facts.chosen else []
    if where:
        said = ", ".join([*where, text[0].lower() + text[1:]])
        text = said[0].upper() + said[1:]
    return f"{text} {_attention_words(facts, rests)}{_beside_words(facts, beside)}"


def _attention_words(facts: Facts, claim: Claim) -> str:
    """S2: for how many heads it is shown, and beside it how many rest there in a text."""
    if facts.heads is None:
        return claim.evidence
    above, of = int((facts.heads.low > HEAD_SHARE).sum()), facts.of_blocks
    words = {
        "holds": f"Attention rests on it: {above} of {facts.heads.low.size} heads{of} give it over "
        f"{HEAD_SHARE}",
        "fails": f"Attention does not rest on it: no head{of} gives it over {HEAD_SHARE}",
        "undetermined": f"Whether attention rests on it is undetermined: some head{of} may, and none is "
        f"shown to give it over {HEAD_SHARE}",
    }
    shown = np.isfinite(claim.low)
    ci = f" (95% CI {interval(claim.low, claim.high, 0, write=share)})" if shown else ""
    return f"{words[claim.verdict]} on average; in a text {share(claim.estimate)} of the heads do{ci}."


def _beside_words(facts: Facts, claim: Claim) -> str:
    if claim.verdict == "fails":
        return ""
    verb = "carry" if claim.verdict == "holds" else "may carry"
    there = " there" if facts.chosen else ""
    return f" Tokens beside it {verb} such vectors{there} in {claim.estimate:.0%} of the texts."
