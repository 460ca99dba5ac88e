"""A sink study's answer in one or two sentences."""

import numpy as np

from laminar_lens.studies.answer import Claim
from laminar_lens.studies.comparison import named_layers
from laminar_lens.studies.sinks_facts import Facts
from laminar_lens.studies.sinks_measurement import HEAD_SHARE
from laminar_lens.studies.sinks_writes import erasing_words, writing_words


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in one or two sentences."""
    n = len(facts.ratio)
    long, rests, beside = claims["S1"], claims["S2"], claims["S6"]
    size = f"{long.estimate:.1f} times the text's median length, in layer {facts.peak}"
    ci = (
        f" (95% band {long.low:.1f}–{long.high:.1f}, {n} texts)" if np.isfinite(long.low) else f" ({n} texts)"
    )
    if long.verdict == "holds":
        text = f"Position 0 is a sink in {named_layers(facts.long_layers)}: up to {size}{ci}"
        text += f"; {writing_words(facts)}; {erasing_words(facts)}."
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
