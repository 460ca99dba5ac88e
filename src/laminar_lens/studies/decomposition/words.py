"""A decomposition study's answer in a few sentences, each part as its claim has it."""

import numpy as np

from laminar_lens.studies.claim import NOT_APPLICABLE, Claim, signed
from laminar_lens.studies.decomposition.claims import ALIKE, ORTHOGONAL, RATE, beyond_orthogonal, largest
from laminar_lens.studies.decomposition.facts import Facts
from laminar_lens.studies.layers import named_layers
from laminar_lens.words import banded, said_of, share_with_ends


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in a few sentences."""
    said = [_related(facts, claims["W1"]), _orthogonal(facts, claims["W2"]), _longer(facts, claims["W3"])]
    text = " ".join(one for one in (*said, _turning(facts, claims["W4"])) if one)
    where = [] if facts.measured.geometry == "raw" else [f"in the geometry {facts.measured.geometry!r}"]
    where += [f"of {named_layers(facts.layers)}"] if len(facts.layers) < facts.measured.last else []
    return said_of(where, text)


def _related(facts: Facts, claim: Claim) -> str:
    """W1."""
    if claim.verdict == NOT_APPLICABLE:
        return "Attention and MLP never both write."
    related, known = facts.related, np.isfinite(facts.difference.estimate)
    row = largest(facts.difference.estimate, related if related.any() else known)
    by = f"{_signed(claim)} in layer {facts.layers[row]}"
    if claim.verdict == "holds":
        named = named_layers(facts.layers, related)
        return (
            f"Attention's and the MLP's writes to a token are related in {named} ({RATE}): their cosine "
            f"differs from that of writes to different tokens by up to {by}."
        )
    if claim.verdict == "fails":
        return (
            "Attention's and the MLP's writes to a token are no more related than those to different tokens: "
            f"their cosines are within {ALIKE} of each other in {facts.every}."
        )
    return (
        "Whether attention's and the MLP's writes to a token are related is undetermined: their cosine "
        f"differs from that of writes to different tokens by up to {by}."
    )


def _orthogonal(facts: Facts, claim: Claim) -> str:
    """W2."""
    if claim.verdict == NOT_APPLICABLE:
        return ""
    row = largest(facts.cosine.estimate, np.isfinite(facts.cosine.estimate))
    beyond = named_layers(facts.layers, beyond_orthogonal(facts))
    most = f"farthest from 0 at {_signed(claim)} in layer {facts.layers[row]}"
    return {
        "holds": f"The two are close to orthogonal on average (±{ORTHOGONAL}) in {facts.every}: {most}.",
        "fails": f"The two are not close to orthogonal on average (±{ORTHOGONAL}) in {beyond}: {most}.",
        "undetermined": f"Whether the two are close to orthogonal is undetermined: {most}.",
    }[claim.verdict]


def _longer(facts: Facts, claim: Claim) -> str:
    """W3."""
    if claim.verdict == NOT_APPLICABLE:
        return ""
    unit = " times as long"
    size = banded(claim.estimate, claim.low, claim.high, unit=unit, kind="CI", marks=(1,))
    opening = {
        "holds": "MLPs write longer vectors than attention",
        "fails": "MLPs write shorter vectors than attention",
        "undetermined": "Whether MLPs write longer vectors than attention is undetermined",
    }[claim.verdict]
    return f"{opening}: {size}, the mean of {facts.every}."


def _turning(facts: Facts, claim: Claim) -> str:
    """W4."""
    if claim.verdict == NOT_APPLICABLE:
        return ""
    row = int(np.nanargmax(facts.radial.estimate))
    size, ends = share_with_ends(claim.estimate, claim.low, claim.high)
    band = f" (95% band {ends})" if ends else ""
    most = f"{size}{band} of a step's squared length lies along the residual in layer {facts.layers[row]}"
    return {
        "holds": f"Steps turn more than they lengthen or shorten in {facts.every}: on average up to {most}.",
        "fails": f"Not every step turns more than it lengthens or shortens: {most}.",
        "undetermined": f"Undetermined whether every step turns more than it lengthens or shortens: {most}.",
    }[claim.verdict]


def _signed(claim: Claim) -> str:
    return banded(claim.estimate, claim.low, claim.high, 3, join=" to ", write=signed)
