"""A sink study's answer in a few sentences, each part as its claim has it."""

import numpy as np

from laminar_lens.stats.sinks import HEAD_SHARE
from laminar_lens.studies.claim import NOT_APPLICABLE, Claim
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.sinks.facts import Facts
from laminar_lens.studies.sinks.writes import by_blocks
from laminar_lens.words import decimal, said_of, share, share_with_ends, with_ends

_ERASED = {
    "holds": "{} of that is gone in the last hidden state",
    "fails": "Most of that stays: {} is gone in the last hidden state",
    "undetermined": "Whether most of that is gone in the last hidden state is undetermined: {} is",
}
_WRITTEN = {
    "holds": "It is written mostly by MLPs",
    "fails": "It is written mostly by attention",
    "undetermined": "Whether it is written mostly by MLPs is undetermined",
}
_TAKEN = {
    "holds": "taken away mostly by MLPs",
    "fails": "taken away mostly by attention",
    "undetermined": "whether taken away mostly by MLPs is undetermined",
}
_LEFT = {
    "holds": "it is a sink no longer there",
    "fails": "it still is a sink there",
    "undetermined": "whether it still is a sink there is undetermined",
}


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in a few sentences."""
    n, long = len(facts.ratio), claims["S1"]
    length, ends = with_ends(long.estimate, long.low, long.high, 1, marks=(1,))
    size = f"{length} times the text's median length, in layer {facts.longest}"
    ci = f" (95% band {ends}, {n} texts)" if ends else f" ({n} texts)"
    if long.verdict == "holds":
        text = f"Position 0 is a sink in {named_layers(facts.long_layers)}: up to {size}{ci}."
        text += _written_words(facts, claims["S4"]) + _erased_words(facts, claims)
    elif long.verdict == "fails":
        text = f"No sink at position 0 by length: at most {size}{ci}."
    else:
        text = f"Undetermined whether position 0 is a sink: {size}{ci}."
    where = [f"in the geometry {facts.geometry!r}"] if facts.geometry != "raw" else []
    where += [f"of {named_layers(facts.layers)}"] if facts.chosen else []
    text = said_of(where, text)
    return f"{text} {_attention_words(facts, claims['S2'])}{_beside_words(facts, claims['S6'])}"


def _written_words(facts: Facts, claim: Claim) -> str:
    """S4."""
    if claim.verdict == NOT_APPLICABLE:
        return ""
    if facts.embedded:
        already = 0 in facts.long_layers
        return (
            f" It is {'in the embedding already' if already else 'as long in the embedding: others shrink'}."
        )
    if claim.verdict == "fails" and np.isnan(claim.estimate):
        return " No block writes it: the others' length falls."
    return f" {_WRITTEN[claim.verdict]} {_mlp_words(facts, claim, written=True)}."


def _erased_words(facts: Facts, claims: dict[str, Claim]) -> str:
    """S5a, who does it (S5b), and what is left (S5c)."""
    gone, by, left = (claims[f"S5{part}"] for part in "abc")
    if gone.verdict == NOT_APPLICABLE:
        return ""
    size, ci = _share(gone)
    said = f" {_ERASED[gone.verdict].format(size)}{f' ({ci})' if ci else ''}"
    if by.verdict == "fails" and np.isnan(by.estimate):
        said += ", and no block shortens it"
    elif by.verdict != NOT_APPLICABLE:
        said += f", {_TAKEN[by.verdict]} {_mlp_words(facts, by, written=False)}"
    return f"{said}; {_LEFT[left.verdict]} ({decimal(left.estimate, 1)} times the median)."


def _mlp_words(facts: Facts, claim: Claim, *, written: bool) -> str:
    mlps = f"MLPs: {', '.join(filter(None, _share(claim)))}; " if np.isfinite(claim.estimate) else ""
    return f"({mlps}{by_blocks(facts, written=written)})"


def _share(claim: Claim) -> tuple[str, str]:
    """A share, and its interval where there is one."""
    size, ends = share_with_ends(claim.estimate, claim.low, claim.high)
    return size, ends and f"95% CI {ends}"


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
    size, ci = _share(claim)
    return f"{words[claim.verdict]} on average; in a text {size} of the heads do{f' ({ci})' if ci else ''}."


def _beside_words(facts: Facts, claim: Claim) -> str:
    if claim.verdict == "fails":
        return ""
    verb = "carry" if claim.verdict == "holds" else "may carry"
    there = " there" if facts.chosen else ""
    return f" Tokens beside it {verb} such vectors{there} in {share(claim.estimate)} of the texts."
