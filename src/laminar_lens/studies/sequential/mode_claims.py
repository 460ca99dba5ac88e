"""Claims C4–C6, about two modes of the chosen baseline's single draw; `claims` lists the rules."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from laminar_lens.stats.bootstrap import Interval, simultaneous_band
from laminar_lens.stats.intervals import simultaneous_medians
from laminar_lens.stats.means import mean
from laminar_lens.stats.mixture import MIN_TEXTS, TwoModes
from laminar_lens.studies.claim import UNDETERMINED, Claim, because, decided, numbers, signed, verdict
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.sequential.comparison import Baseline, quantile, without_position
from laminar_lens.studies.sequential.intervals import first_shift

MODES = ((1.0, 1.5), (2.5, 3.0))
"""C4: where the original saw the two modes, in radians."""
ABOUT = 0.1
"""C4, "about": how far outside these ranges a mode may lie, in radians."""
MEMBERS = 5
"""An upper group of so many prompts, or more, was found whatever their number (tests/validate/TABLE.md)."""
SHARE = 1 / 3
"""C4: two modes in at least this share of the layers."""
EXACT = 0.7
"""C5: precision and recall are shown to be above this (16 of 16 pairs show 0.79, 12 of 12 show 0.74)."""
LOOSE = 0.9
"""C5: precision or recall shown to be below this is not "exactly"."""
APART = 2.0
"""C6: a mean or median at least this many standard deviations from both modes describes neither."""
LEVEL = 0.95


def modes_claim(layers: Sequence[int], found: Baseline) -> Claim:
    """C4: layers with two modes, and where these lie."""
    two = _two(found)
    if not two:
        return _no_upper_mode(found)
    inside = [k for k in two if _in_range(found.modes[k].means)]
    shown_so = UNDETERMINED
    if len(two) >= SHARE * len(layers):
        shown_so = "holds" if 2 * len(inside) >= len(two) else "fails"
    strongest = max(two, key=lambda k: found.modes[k].delta_bic)
    at = found.modes[strongest]
    evidence = (
        f"Two modes in {named_layers(layers[k] for k in two)} ({len(two)} of {len(layers)}), in the "
        f"published ranges in {named_layers(layers[k] for k in inside)}; the estimate is their distance in "
        f"layer {layers[strongest]}: {at.means[0]:.2f} ± {at.sds[0]:.2f} and {at.means[1]:.2f} ± "
        f"{at.sds[1]:.2f} rad, {at.weights[1]:.0%} of the pairs in the upper one. Its interval is withheld: "
        f"no interval for the distance of two modes was validated."
    )
    claim = Claim(shown_so, at.means[1] - at.means[0], unit="rad", evidence=evidence)
    return decided(claim, "", f"two modes in {len(two)} of {len(layers)} layers, fewer than a third of them")


def attribution_claim(layers: Sequence[int], found: Baseline) -> Claim:
    """C5: agreement of "contains position 0" with "in the upper mode", where it is worst."""
    two = _two(found)
    if not two:
        return Claim(UNDETERMINED, unit="share", evidence="No upper mode was found that could be explained.")
    answers, intervals = [], []
    for k in two:
        attribution, first = found.attribution[k], (found.pairs[0] == 0).any(axis=-1)
        upper, valid = found.modes[k].upper, np.isfinite(found.angle[k, :, 0])
        both = int((upper & first & valid).sum())
        agreement = [_proportion(both, int((group & valid).sum())) for group in (first, upper)]
        worst = min(agreement)
        intervals.append(worst)
        position = None if attribution is None else attribution.position
        fails = position not in (0, None) or worst[2] < LOOSE
        answers.append(verdict(not fails and position == 0 and worst[1] > EXACT, fails))
    held, failed = (answers.count(answer) for answer in ("holds", "fails"))
    shown_so = verdict(2 * held > len(answers), 2 * failed > len(answers))
    middle = sorted(intervals)[len(intervals) // 2]
    exact = named_layers(layers[k] for k, answer in zip(two, answers, strict=True) if answer == "holds")
    other = named_layers(layers[k] for k, answer in zip(two, answers, strict=True) if answer == "fails")
    evidence = (
        f"The smaller of precision and recall of position 0, median over the layers with two modes; position "
        f"0 explains the upper mode in {exact}, not or not exactly in {other}."
    )
    reason = (
        f"shown to be exactly those pairs in {held} of {len(two)} layers with two modes, "
        f"not to be in {failed}: more than half of them decide"
    )
    return decided(Claim(shown_so, *middle, "share", evidence), "", reason)


def mean_claim(layers: Sequence[int], found: Baseline, seed: int) -> Claim:
    """C6: where the mean and the median of the mixed baseline lie, and what position 0 does to them."""
    single, two = found.angle[:, :, 0], _two(found)
    (estimate, low, high), moved, withheld = _moved(single, found.pairs[0], two, seed)
    if not two:
        upper = _no_upper_mode(found)
        said = "There is one group in every layer"
        if upper.verdict != "fails":
            said = "No layer shows two modes, but an upper one could hide"
        claim = Claim(upper.verdict, estimate, low, high, "rad", f"{said}; {moved}.{because(withheld)}")
        return decided(claim, "", (upper.reason or upper.evidence).rstrip("."))
    modes = [found.modes[k] for k in two]
    verdicts, parts, lacking = [], [], ""
    by_text = single[two].T
    bands = {"mean": simultaneous_band(by_text, seed=seed), "median": simultaneous_medians(by_text)}
    for name, band in bands.items():
        nothing, within = _outside(band, modes)
        outside, inside = (named_layers(layers[two[k]] for k in rows) for rows in (nothing, within))
        parts.append(
            f"the {name} is more than {APART:g} sd from both modes in {outside}, "
            f"within that of one in {inside}"
        )
        verdicts.append(verdict(2 * len(nothing) > len(two), 2 * len(within) > len(two)))
        lacking = lacking or band.withheld
    shown_so = verdicts[0] if verdicts[0] == verdicts[1] else UNDETERMINED
    evidence = f"Of the layers with two modes, {'; '.join(parts)} (simultaneous 95% bands); {moved}."
    claim = Claim(shown_so, estimate, low, high, "rad", evidence + because(withheld or lacking))
    return decided(claim, lacking, f"{'; '.join(parts)}: more than half of the layers decide, for both alike")


def _moved(
    single: np.ndarray, pairs: np.ndarray, two: list[int], seed: int
) -> tuple[tuple[float, float, float], str, str]:
    """Shift of the mean by the pairs with position 0 and its interval; words for it; why it has none."""
    rows, contains = two or list(range(len(single))), (pairs == 0).any(axis=-1)
    shift = first_shift(mean(single[rows], axis=0)[None], contains, seed)
    number = numbers(shift, 0)
    if not contains.any():
        return number, "no pair of this draw contains position 0", ""
    rest = without_position(single, pairs)
    medians = mean(quantile(single[rows], 0.5) - quantile(rest[rows], 0.5), axis=0)
    moved = (
        f"pairs with position 0 move the mean by {signed(number[0])}, the median by {signed(medians)} rad "
        f"(no interval for the shift of a median was validated)"
    )
    return number, moved, shift.withheld


def needed_prompts(found: Baseline) -> int:
    """Prompts that must be looked at before one group is said: so many that the pairs with position 0 would
    show as one of their own."""
    share = float((found.pairs[0] == 0).any(axis=-1).mean())
    return max(MIN_TEXTS, math.ceil(MEMBERS / share)) if share else MIN_TEXTS


def mode_verdict(modes: TwoModes, needed: int) -> str:
    """ "two", "one", or "undetermined" where fewer prompts than needed show no second group."""
    if modes.has_two:
        return "two"
    return "one" if modes.n >= needed else UNDETERMINED


def _two(found: Baseline) -> list[int]:
    return [k for k, modes in enumerate(found.modes) if modes.has_two]


def _in_range(means: tuple[float, float]) -> bool:
    return all(low - ABOUT <= mean <= high + ABOUT for mean, (low, high) in zip(means, MODES, strict=True))


def _no_upper_mode(found: Baseline) -> Claim:
    """No layer with two modes: how much of the predicted upper mode could still be hidden."""
    single = found.angle[:, :, 0]
    n = np.isfinite(single).sum(axis=1)
    if n.max() < MIN_TEXTS:
        return Claim(UNDETERMINED, unit="share", evidence=f"{_reason(found)}.")
    counts = (single >= MODES[1][0] - ABOUT).sum(axis=1)
    worst = int(np.argmax(counts))
    level = 1 - (1 - LEVEL) / len(single)
    estimate, low, high = _proportion(int(counts[worst]), int(n[worst]), level)
    predicted = float((found.pairs[0] == 0).any(axis=-1).mean())
    hidden = f"up to {high:.0%} of the pairs could be an upper group, and {predicted:.0%} contain position 0"
    evidence = (
        f"No layer shows two modes; at most {estimate:.0%} of the pairs reach {MODES[1][0] - ABOUT:.1f} rad "
        f"in any layer, while {predicted:.0%} of them contain position 0. {_reason(found)}."
    )
    return decided(
        Claim(verdict(False, high < predicted), estimate, low, high, "share", evidence), "", hidden
    )


def _reason(found: Baseline) -> str:
    """Why the layer nearest to two modes has one."""
    nearest = max(found.modes, key=lambda modes: modes.delta_bic if np.isfinite(modes.delta_bic) else -np.inf)
    return f"Nearest to two: {nearest.reason}" if np.isfinite(nearest.delta_bic) else nearest.reason


def _proportion(count: int, n: int, level: float = LEVEL) -> tuple[float, float, float]:
    """A share with its exact (Clopper–Pearson) interval; 0 of 0 says nothing."""
    if n == 0:
        return 0.0, 0.0, 1.0
    interval = binomtest(count, n).proportion_ci(level, method="exact")
    return count / n, float(interval.low), float(interval.high)


def _outside(band: Interval, modes: Sequence[TwoModes]) -> tuple[list[int], list[int]]:
    """Rows whose centre lies, with its whole interval, outside both modes; and inside one of them."""
    nothing, within = [], []
    for k, (low, high, at) in enumerate(zip(band.low, band.high, modes, strict=True)):
        reach = [APART * sd for sd in at.sds]
        if at.means[0] + reach[0] < low and high < at.means[1] - reach[1]:
            nothing.append(k)
        elif any(abs(low - m) < r and abs(high - m) < r for m, r in zip(at.means, reach, strict=True)):
            within.append(k)
    return nothing, within
