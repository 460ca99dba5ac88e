"""The answer of a why-study in plain words, and as claim C8."""

from collections.abc import Mapping, Sequence

import numpy as np

from laminar_lens.stats.why import MIN_HALVES, Found, WhyAnswer
from laminar_lens.stats.why_effects import CAUSES
from laminar_lens.stats.why_places import EFFECTS, Trend
from laminar_lens.studies.claim import Claim, because, decided, numbers, signed
from laminar_lens.studies.layers import named_layers
from laminar_lens.words import bracketed, interval, with_ends

TEXT = "the cause is the missing context of the first token"

_SAID = {
    "position": "being at position 0 is enough for it ({e01}), being without context is not ({e10})",
    "context": "being without context is enough for it ({e10}), being at position 0 is not ({e01})",
    "either": "each is enough for it: being at position 0 ({e01}), being without context ({e10})",
    "jointly": "neither is enough for it, position 0 ({e01}) or no context ({e10}); it takes both",
}
EFFECT = {
    "E11": "being first (E11)",
    "E10": "context cut off alone (E10)",
    "E01": "positions restarted alone (E01)",
}
_CLAIM = {
    "position": "The claim does not hold: it is the position.",
    "context": "The claim holds.",
    "either": "The claim holds in part: missing context is enough, and so is position 0.",
    "jointly": "The claim holds in part: it takes position 0 besides.",
    "none": "The claim has nothing to explain.",
    "undetermined": "The claim is open.",
}


def sentence(
    answer: WhyAnswer, layers: Sequence[int], n_texts: int, at: Sequence[int], *, has_positions: bool
) -> str:
    """One or two sentences; angles in radians, layers as hidden states, `at` the places, increasing."""
    where = f"t = {at[0]}" + (f"–{at[-1]}" if at[-1] > at[0] else "")
    texts = f"{n_texts:,} texts, each behind the first {where} tokens of another"
    if answer.verdict == "none":
        return (
            f"None: being first moves a pair of tokens by less than {answer.tau:g} rad, in all {len(layers)} "
            f"hidden states (simultaneous 95% band, {texts}).{_tokens(answer, layers)}"
        )
    if not answer.found:
        more = f" {2 * MIN_HALVES} independent texts are enough for that." if answer.n < MIN_HALVES else ""
        return f"Undetermined: {answer.reason} ({texts}).{more}{_tokens(answer, layers)}"
    others = _others(answer, layers)
    if len(answer.found) == 1:
        return _one(answer.found[0], answer, layers, texts, has_positions) + others
    parts = [f"{one.verdict} where they are {_size(one, layers)}" for one in answer.found]
    head = "Undetermined" if answer.verdict == "undetermined" else answer.verdict.capitalize()
    return f"{head}: first pairs have the cause {' and the cause '.join(parts)} ({texts}).{others}"


def _one(found: Found, answer: WhyAnswer, layers: Sequence[int], texts: str, has_positions: bool) -> str:
    size = f"being first makes a pair {_size(found, layers, texts)}"
    head = found.verdict.capitalize()
    if found.verdict == "undetermined":
        factors = _sizes(found, ("E01", "E10"))
        return f"{head}: {size}, but {answer.reason} ({factors} rad)."
    if not has_positions:
        return (
            f"{head}: {size}, and cutting the context off is all it takes; a restart of positions is not "
            "applicable to this model."
        )
    over = "on average over these layers, " if len(found.layers) > 1 else ""
    return f"{head}: {size}, and {over}{_said(found)}."


def _others(answer: WhyAnswer, layers: Sequence[int]) -> str:
    """Layers whose own verdict is another cause, and of those that were named every other verdict."""
    named = {row for one in answer.found for row in one.layers}
    own = {row: said for row, said in enumerate(answer.verdicts) if said in CAUSES or row in named}
    said = {row: one.verdict for one in answer.found for row in one.layers}
    rows = {row: verdict for row, verdict in own.items() if verdict != said.get(row)}
    parts = []
    for verdict in dict.fromkeys(rows.values()):
        parts.append(f"{verdict} in {named_layers(layers[row] for row in rows if rows[row] == verdict)}")
    return f" Layer by layer, the answer is {', '.join(parts)}." if parts else ""


def _said(found: Found) -> str:
    numbers = {name.lower(): f"{signed(found.effects[name].estimate)} rad" for name in ("E01", "E10")}
    return _SAID[found.verdict].format(**numbers)


def _size(found: Found, layers: Sequence[int], texts: str = "") -> str:
    """`0.24 rad narrower in layers 1–7 (95% CI 0.23–0.25, 600 texts)`."""
    e11 = found.effects["E11"]
    up = 1 if found.sign == "wider" else -1
    low, high = sorted((up * float(e11.low), up * float(e11.high)))
    value, ends = with_ends(up * float(e11.estimate), low, high)
    ci = f"95% CI {ends}" if ends else e11.withheld
    where = named_layers(layers[row] for row in found.layers)
    return f"{value} rad {found.sign} in {where} ({ci}{', ' if texts else ''}{texts})"


def _sizes(found: Found, names: Sequence[str]) -> str:
    """`context cut off alone (E10) −0.21 [−0.22, −0.19], …` of the effects that this model has."""
    known = {name: found.effects[name] for name in names if np.isfinite(found.effects[name].estimate)}
    return ", ".join(f"{EFFECT[name]} {bracketed(*numbers(x), write=signed)}" for name, x in known.items())


def _tokens(answer: WhyAnswer, layers: Sequence[int]) -> str:
    """What first tokens' own part is, where it was shown to be more than nothing."""
    band = answer.bands["T"]
    shown = (band.low > answer.tau) | (band.high < -answer.tau)
    if not shown.any():
        return ""
    row = int(np.where(shown, np.abs(band.estimate), -1.0).argmax())
    return (
        f" The first tokens themselves stand apart wherever they are, in {named_layers(layers, shown)}: by "
        f"{signed(band.estimate[row])} rad in layer {layers[row]}."
    )


def trend_sentence(trend: Trend | None) -> str:
    """How the cause depends on the place, where it was shown to; else empty."""
    if trend is None or not trend.shown:
        return ""
    parts = []
    for name in trend.shown:
        row = EFFECTS.index(name)
        first, last = signed(trend.line.estimate[row, 0]), signed(trend.line.estimate[row, -1])
        ends = interval(trend.change.low[row], trend.change.high[row], join=", ", write=signed)
        parts.append(f"{EFFECT[name]} goes from {first} to {last} rad (95% CI of the change [{ends}])")
    return f" It depends on the place t: from {trend.at[0]} to {trend.at[-1]} {' and '.join(parts)}."


def claim(
    answer: WhyAnswer,
    layers: Sequence[int],
    identity: float,
    *,
    has_positions: bool,
    random: Mapping[str, np.ndarray],
) -> Claim:
    """C8: the verdict, E11 in the layers that decide it, and what it rests on."""
    both = "cut + restart" if has_positions else "cut"
    near = f"within {identity:.1g} rad" if identity > 0 else "to the last bit"
    checked = f" The plain run of the text alone is {both}, {near}."
    if not answer.found:
        band = answer.bands["E11"]
        widest = int(np.nan_to_num(np.abs(band.estimate), nan=-1.0).argmax())
        evidence = f"What being first does (E11) is largest in layer {layers[widest]}"
        evidence += (
            f"; {answer.reason}." if answer.reason else f", inside ±{answer.tau:g} rad in every layer."
        )
        said = f"{_CLAIM[answer.verdict]} {evidence}{checked}{because(band.withheld)}"
        return decided(Claim(answer.verdict, *numbers(band, widest), "rad", said), "", answer.reason)
    first = answer.found[0]
    parts = []
    for one in answer.found:
        where = named_layers(layers[row] for row in one.layers)
        parts.append(f"{one.verdict.capitalize()} in {where}: {_sizes(one, ('E11', 'E10', 'E01'))} rad")
    half = " Layers were chosen on one half of the texts and measured on the other."
    lacking = (
        "" if has_positions else " The position factor is not applicable: restart(t) does not fit this model."
    )
    if random:
        rows = list(first.layers)
        half += f" With random weights E11 is {signed(random['E11'][rows].mean())} rad in these layers."
    reason = because(answer.reason)
    evidence = f"{_CLAIM[answer.verdict]} {'; '.join(parts)}.{half}{lacking}{reason}{checked}"
    return decided(Claim(answer.verdict, *numbers(first.effects["E11"]), "rad", evidence), "", answer.reason)
