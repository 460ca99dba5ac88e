"""The answer of a warm-up study in plain words."""

from collections.abc import Sequence

import numpy as np

from laminar_lens.stats.bootstrap import Interval
from laminar_lens.stats.warmup import Answer, WarmupAnswer
from laminar_lens.stats.warmup_shape import Effect
from laminar_lens.studies.layers import named_layers
from laminar_lens.words import decimal, interval

MANY_PAIRS = 4
"""Beyond so many pairs a mean over them says little: the first is named, and the last that stands apart."""


def named_pairs(k: int) -> int:
    """Over how many first pairs the size of a difference is given, when the first k stand apart."""
    return k if k <= MANY_PAIRS else 1


def sentence(
    answer: WarmupAnswer,
    found: Sequence[Effect],
    layers: Sequence[int],
    bos: int = 0,
    *,
    grouped: bool = False,
) -> str:
    """One or two sentences that a reader can act on; angles in radians, layers as hidden states.

    Args:
        found: effects in the first `named_pairs(k_lo)` pairs, see `laminar_lens.stats.warmup_shape.effects`.
        layers: hidden state of each row of `answer`.
        bos: 1 where position 0 is a BOS.
        grouped: texts of one group were averaged, so that `answer.n` counts groups.
    """
    texts = f"{answer.n:,} {'independent ' if grouped else ''}texts"
    said = _said(answer, found, layers, texts)
    return f"{said} Position 0 is the BOS." if bos and _counts_positions(answer) else said


def _counts_positions(answer: WarmupAnswer) -> bool:
    """Whether positions, or tokens from the first on, are named."""
    overall = answer.overall
    if overall.verdict == "undetermined":
        return bool(overall.k_lo or _decidable(answer)[1])
    return overall.verdict != "drift" and overall.skip != 0


def _said(answer: WarmupAnswer, found: Sequence[Effect], layers: Sequence[int], texts: str) -> str:
    overall = answer.overall
    if overall.verdict == "drift":
        return _drift(answer, layers, texts)
    if overall.verdict == "undetermined":
        return _undetermined(answer, found, layers, texts)
    if overall.skip == 0:
        where = "in the one layer measured" if len(layers) == 1 else f"in all {len(layers)} layers"
        return (
            "No warm-up found: from the first pair on, neighbouring tokens' angles are within "
            f"±{answer.tau:g} rad of the rest of the text {where} ({texts})."
        )
    k, least = overall.skip or 0, overall.k_lo or 0
    said = f"Leave out {_first(k)}: {_enough(answer, layers, k, least)}."
    if least:
        effects = _effects(answer, found, layers, least, texts)
        return f"{said} {effects[0].upper()}{effects[1:]}." + _paired(found)
    return f"{said} Of no token was it shown that it stands apart ({texts})."


def _enough(answer: WarmupAnswer, layers: Sequence[int], k: int, least: int) -> str:
    """In which layers `k` tokens are enough and at which tolerance, how many are necessary, and where fewer
    are enough."""
    where = "in the one layer measured" if len(layers) == 1 else "in every layer"
    how = f"(±{answer.tau:g} rad, 95%)"
    if k == least:
        return f"enough {where}, and necessary {how}"
    said = f"enough {where} {how}; {_necessary(least)}"
    each = [one.k_hi for one in answer.layers if one.k_hi is not None]
    usual = sorted(each)[len(each) // 2]
    if usual == k:
        return said
    fewer = [layer for layer, one in zip(layers, answer.layers, strict=True) if _is_enough(one, usual)]
    return f"{said}, {usual} {'is' if usual == 1 else 'are'} enough in {named_layers(fewer)}"


def _is_enough(layer: Answer, k: int) -> bool:
    return layer.k_hi is not None and layer.k_hi <= k


def _necessary(least: int) -> str:
    if not least:
        return "none is shown to be necessary"
    return f"{least} {'is' if least == 1 else 'are'} necessary"


def _tokens(k: int) -> str:
    return f"{k} token" if k == 1 else f"{k} tokens"


def _first(k: int) -> str:
    return "the first token" if k == 1 else f"the first {k} tokens"


def _pairs(k: int) -> str:
    return "pairs with position 0" if k == 1 else f"pairs that start at positions 0–{k - 1}"


def _size(interval: Interval, sign: str) -> str:
    """The estimate, positive in the direction of the effect."""
    return decimal(float(interval.estimate) * (1 if sign == "wider" else -1))


def _ci(interval: Interval, sign: str) -> str:
    if not np.isfinite(interval.low):
        return f"no interval: {interval.withheld or 'too few texts'}"
    return f"95% CI {_bounds(float(interval.low), float(interval.high), sign)}"


def _bounds(low: float, high: float, sign: str) -> str:
    """From the smaller to the larger effect, positive in its direction."""
    low, high = (low, high) if sign == "wider" else (-high, -low)
    return interval(low, high)


def _effects(answer: WarmupAnswer, found: Sequence[Effect], layers: Sequence[int], k: int, texts: str) -> str:
    """Layers, size and interval of each effect; the largest single difference where half of the texts named
    none; and where more pairs than are named were shown to stand apart, the last of them."""
    last = (
        ""
        if named_pairs(k) == k
        else f"; the last pair that is shown to stand apart starts at position {k - 1}"
    )
    if not found:
        return f"{_largest(answer, layers, k)} ({texts}){last}"
    parts = []
    for effect in found:
        where = named_layers(layers[row] for row in effect.layers)
        size, bounds = _size(effect.interval, effect.sign), _ci(effect.interval, effect.sign)
        parts.append(f"{size} rad {effect.sign} in {where} ({bounds}{{}})")
    measured = f", on {found[0].interval.n:,} of {texts}"  # the others chose the layers
    sizes = " and ".join(parts).format(measured, *[""] * (len(parts) - 1))
    return f"{_pairs(named_pairs(k))} are {sizes}{last}"


def _largest(answer: WarmupAnswer, layers: Sequence[int], k: int) -> str:
    """The largest difference that was shown: in the first pairs that are named, else in the first k."""
    low, high = answer.band_low[:, :k], answer.band_high[:, :k]
    shown = (low > answer.tau) | (high < -answer.tau)
    named = named_pairs(k)
    near = bool(shown[:, :named].any())
    shown[:, named:] &= not near
    row, pair = np.unravel_index(np.where(shown, np.abs(answer.delta[:, :k]), -1.0).argmax(), shown.shape)
    value = float(answer.delta[row, pair])
    sign = "wider" if value > 0 else "narrower"
    return (
        f"{_pairs(named) if near else f'pairs that start at position {pair}'} are up to "
        f"{decimal(abs(value))} rad {sign}, in layer {layers[int(row)]} "
        f"(simultaneous 95% band {_bounds(float(low[row, pair]), float(high[row, pair]), sign)})"
    )


def _paired(found: Sequence[Effect]) -> str:
    """What the same bigrams do when they are moved to the start."""
    parts = []
    for effect in found:
        if effect.paired is not None and np.isfinite(effect.paired.low):
            size, bounds = _size(effect.paired, effect.sign), _ci(effect.paired, effect.sign)
            parts.append(f"{size} rad {effect.sign} ({bounds})")
    if not parts:
        return ""
    return f" The same bigrams, taken from deep in a text to its start, become {' and '.join(parts)}."


def _undetermined(answer: WarmupAnswer, found: Sequence[Effect], layers: Sequence[int], texts: str) -> str:
    overall = answer.overall
    k_lo = overall.k_lo or 0
    if overall.n_needed is None:
        needed = _beyond(answer, layers)
    else:
        needed = f"by these, about {overall.n_needed:,} would show one"
    text = (
        f"Undetermined: at ±{answer.tau:g} rad no number of first tokens was shown to be enough; there were "
        f"{texts}, {needed}.{_decided_now(answer)}"
    )
    if k_lo:
        size = _effects(answer, found, layers, k_lo, texts)
        text += f" At least {_tokens(k_lo)} must go: {size}."
    return text


def _beyond(answer: WarmupAnswer, layers: Sequence[int]) -> str:
    """Why no number of texts is named: a mean just inside the tolerance, or one outside, not yet shown."""
    size = np.abs(answer.delta[:, answer.reference[0] - 1])
    row, tau = int(size.argmax()), f"±{answer.tau:g} rad"
    if size[row] < answer.tau:
        return f"the last pairs that are tested lie so close to {tau} that a million texts would not do"
    return (
        f"the last pair that is tested seems to lie outside {tau} ({decimal(float(size[row]))} rad in layer "
        f"{layers[row]}): more texts would rather show drift"
    )


def _decided_now(answer: WarmupAnswer) -> str:
    """What is enough at the smallest tolerance at which any number is, from the same texts."""
    tau, k = _decidable(answer)
    if k is None:
        return ""
    enough = f"leaving out {_first(k)} is enough" if k else "nothing need be left out"
    return f" At ±{tau:g} rad {enough}."


def _decidable(answer: WarmupAnswer) -> tuple[float, int | None]:
    """The smallest larger tolerance at which a number is enough, and that number; (0, None) without one."""
    found = zip(answer.tolerances.tolist(), (row[-1].k_hi for row in answer.curve), strict=True)
    return next(((tau, k) for tau, k in found if tau > answer.tau and k is not None), (0.0, None))


def _drift(answer: WarmupAnswer, layers: Sequence[int], texts: str) -> str:
    last = answer.reference[0] - 1
    rows = [i for i, a in enumerate(answer.layers) if a.verdict == "drift"]
    row = max(rows, key=lambda i: abs(answer.delta[i, last]))
    value = float(answer.delta[row, last])
    sign = "wider" if value > 0 else "narrower"
    where = named_layers(layers[i] for i in rows)
    return (
        f"Drift: next to the reference pairs ({answer.reference[0]}–{answer.reference[1] - 1}) angles still "
        f"differ from them in {where} (pair {last}: {decimal(abs(value))} rad {sign} in layer {layers[row]}, "
        f"{texts}), so no number of first tokens can be named; see the curve."
    )
