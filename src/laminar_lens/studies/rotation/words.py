"""A rotation study's answer in a few sentences, each part as its claim has it."""

import math

import numpy as np

from laminar_lens.studies.claim import Claim
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.rotation.claims import beyond, of_part
from laminar_lens.studies.rotation.facts import LEVEL, Facts
from laminar_lens.studies.rotation.runs import Runs
from laminar_lens.words import banded, because, decimal, with_ends

_ALIKE = {
    "holds": "It and the word before it turn alike, within {tau:g} rad in each layer",
    "fails": "It and the word before it turn differently, by over {tau:g} rad in {where}",
    "undetermined": "Whether it and the word before it turn alike, within {tau:g} rad, is undetermined",
}
_ENDS = {
    "holds": "; both turn it more than each block between",
    "fails": "; they are not the two that turn it most",
    "undetermined": "; whether both turn it more than each block between is undetermined",
    "not applicable": "",
}


def sentence(facts: Facts, claims: dict[str, Claim], runs: Runs | None) -> str:
    """The answer in a few sentences."""
    n = len(facts.measured.target)
    parts = [f"{facts.word.strip()!r}, {n} prompts: {_turn(facts, claims)}."]
    alike = _ALIKE[claims["R3"].verdict].format(tau=facts.tau, where=named_layers(beyond(facts)))
    parts.append(f"{alike}{_shown(facts)}.")
    if runs is not None:
        parts.append(_least(facts, runs))
    return " ".join(parts)


def _turn(facts: Facts, claims: dict[str, Claim]) -> str:
    ends = [
        f"by {_number(of_part(facts, part))} in the {part}"
        for part in ("first block", "last block")
        if np.isfinite(of_part(facts, part)[0])
    ]
    said = " and ".join(ends)
    if facts.middle.any() and np.isfinite(of_part(facts, "middle blocks")[0]):
        middle = f"it turns by {_number(of_part(facts, 'middle blocks'))} a block in {facts.between}"
        return f"{middle}, {said}{_ENDS[claims['R2'].verdict]}" if ends else middle
    return f"it turns {said}" if ends else "no turn is defined"


def _number(found: tuple[float, float, float]) -> str:
    return banded(*found, 3, unit=" rad")


def _shown(facts: Facts) -> str:
    """Where the paired test shows a difference."""
    if facts.flips is None:
        return ""
    more, less = facts.different(1), facts.different(-1)
    if not (more or less):
        return f"; no layer is shown to turn one more than the other (p ≤ {LEVEL:g} over all layers)"
    said = [f"more in {named_layers(more)}"] if more else []
    said += [f"less in {named_layers(less)}"] if less else []
    return f"; the target is shown to turn {' and '.join(said)} (p ≤ {LEVEL:g} over all layers)"


def _least(facts: Facts, runs: Runs) -> str:
    """The run of a quarter of the blocks that turns the last token least."""
    row = runs.quarter
    first, last = int(runs.first[row]), int(runs.first[row] + runs.blocks[row] - 1)
    distance, ends = with_ends(runs.estimate[row], runs.low[row], runs.high[row], 3)
    ends = f" (95% band {ends})" if ends else ""
    several = f"blocks {first}–{last}" if last > first else f"block {first}"
    turn = "turn" if last > first else "turns"
    blocks = f"{last - first + 1} block{'s' if last > first else ''}"
    rivals = int(runs.rivals[row])
    open_ = f"; {rivals} other run{'' if rivals == 1 else 's'} cannot be told from it" if rivals > 0 else ""
    return (
        f"Of all runs of {blocks}{'' if facts.is_whole else ' that were measured'}, {several} "
        f"(between layers "
        f"{first} and {last + 1}) {turn} the prompt's last token least: "
        f"{distance} of π{ends}, {decimal(runs.estimate[row] * math.pi, 3)} "
        f"rad{open_}.{because(facts.pruning.withheld)}"
    )
