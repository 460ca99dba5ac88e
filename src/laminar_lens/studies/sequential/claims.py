"""The published claims C1–C7, each answered for the model at hand: holds, fails or undetermined.

| claim | holds | fails |
|---|---|---|
| C1 | ratio target/rotation above `WIDER` in most layers and overall | below it in most layers, or overall |
| C2 | IQR of the target grows from the middle layer to the last by more than `FAN_OUT` | by less than it |
| C3 | target's IQR below that of published, adjacent and matched | not below that of one of them |
| C4 | two modes in `SHARE` of layers, most in the ranges `MODES` | none could hide; or modes elsewhere |
| C5 | position 0 explains the upper mode, agreement above `EXACT` | another, or agreement below `LOOSE` |
| C6 | mean and median `APART` sd from both modes in most such layers | within one; or none could hide |
| C7 | k_hi ≤ `FROM` | k_lo > `FROM`, or drift |

"Above" and "below" mean that the whole 95% interval is (simultaneous over layers where layers are counted).
Everything else is undetermined: too few texts, an interval across a threshold, a part that was not run. The
thresholds are ours: the original gives numbers ("0.1–0.2 rad", "1.0–1.5 and 2.5–3.0 rad"), not rules.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import mapped, mean_interval, simultaneous_band
from laminar_lens.stats.means import mean
from laminar_lens.stats.mixture import MIN_TEXTS
from laminar_lens.studies.claim import (
    UNDETERMINED,
    Claim,
    above,
    because,
    decided,
    numbers,
    signed,
    verdict,
    worded,
)
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.sequential.beside import LeaveOut
from laminar_lens.studies.sequential.comparison import Baseline, quantile, without_position
from laminar_lens.studies.sequential.intervals import fan_out, steadiness
from laminar_lens.studies.sequential.mode_claims import (
    attribution_claim,
    mean_claim,
    modes_claim,
    needed_prompts,
)
from laminar_lens.words import bracketed, estimate, interval

WIDER = 2.0
"""C1, "much wider": at least this many times the rotation."""
FAN_OUT = 0.05
"""C2: a change of the IQR by at most this many radians is no fan-out."""
FROM = 2
"""C7: "from the second or third token on" allows two tokens to stand apart."""

TEXTS = {
    "C1": "the angle at the target is much wider than the target's rotation between layers (0.1–0.2 rad)",
    "C2": "the angles fan out from the middle layers to the last",
    "C3": "the pair (word before, target) turns more steadily than unrelated pairs",
    "C4": "the baseline has two modes, about 1.0–1.5 and 2.5–3.0 rad",
    "C5": "the upper mode is exactly the pairs with position 0",
    "C6": "the mean (and median) of the mixed baseline describes nothing",
    "C7": "from the second or third token on, angles are alike",
}


def answer_claims(
    dataset: xr.Dataset,
    baselines: Mapping[str, Baseline],
    *,
    chosen: str,
    warmup: LeaveOut | None,
    seed: int,
) -> dict[str, Claim]:
    """The claims C1–C7."""
    layers = dataset["layer"].values.tolist()
    target, rotation = dataset["target_angle"].values, dataset["target_rotation"].values
    found = {
        "C1": rotation_claim(layers, target, rotation, seed),
        "C2": fan_out_claim(layers, target, seed),
        "C3": steadiness_claim(target, baselines, seed),
        "C4": modes_claim(layers, baselines[chosen]),
        "C5": attribution_claim(layers, baselines[chosen]),
        "C6": mean_claim(layers, baselines[chosen], seed),
        "C7": alike_claim(warmup),
    }
    return worded(found, TEXTS)


def rotation_claim(layers: Sequence[int], target: np.ndarray, rotation: np.ndarray, seed: int) -> Claim:
    """C1: geometric mean over texts of angle/rotation, by layer."""
    turned = np.divide(target, rotation, out=np.full_like(target, np.nan), where=rotation > 0)
    rows = np.isfinite(turned).sum(axis=1) >= 2
    if not rows.any():
        return Claim(UNDETERMINED, unit="times", evidence="No layer has a layer before it in two texts.")
    x = np.log(turned[rows])
    kept = np.array(layers)[rows]
    band, overall = simultaneous_band(x.T, seed=seed), mean_interval(mean(x, axis=0), seed=seed)
    yes, no = band.low > np.log(WIDER), band.high < np.log(WIDER)
    shown_so = verdict(
        overall.low > np.log(WIDER) and 2 * yes.sum() > len(yes),
        overall.high < np.log(WIDER) or 2 * no.sum() > len(no),
    )
    where = (
        f"The angle is more than {WIDER:g} times the rotation in {named_layers(kept, yes)}, less in "
        f"{named_layers(kept, no)} (simultaneous 95% band); mean"
    )
    evidence = (
        f"{'Mean' if band.withheld else where} rotation {_span(rotation[rows])} rad, mean angle "
        f"{_span(target[rows])} rad by layer."
    )
    reason = (
        f"above {WIDER:g} times in {yes.sum()} of {len(yes)} layers and below it in {no.sum()}: more than "
        "half of them decide, and the mean over all"
    )
    ratio = numbers(mapped(np.exp, overall))
    claim = Claim(shown_so, *ratio, "times", evidence + because(overall.withheld))
    return decided(claim, overall.withheld or band.withheld, reason)


def fan_out_claim(layers: Sequence[int], target: np.ndarray, seed: int) -> Claim:
    """C2: change of the IQR over prompts from the middle layer to the last, along a straight line."""
    half = np.array(layers) >= (layers[0] + layers[-1]) / 2
    if half.sum() < 3:
        return Claim(
            UNDETERMINED, unit="rad", evidence="A trend needs three layers from the middle to the last."
        )
    rows = np.array(layers)[half].tolist()
    found = fan_out(target[half], rows, seed)
    number = numbers(found)
    iqr = quantile(target[half], 0.75) - quantile(target[half], 0.25)
    evidence = (
        f"The IQR over prompts goes from {iqr[0]:.2f} rad in layer {rows[0]} to {iqr[-1]:.2f} rad in layer "
        f"{rows[-1]}; the straight line through these layers changes by {signed(number[0])} rad."
    )
    claim = Claim(above(number, FAN_OUT), *number, "rad", evidence + because(found.withheld))
    reason = (
        f"its interval includes {FAN_OUT:g} rad, the claim's own limit: only a change by more than that is a "
        "fan-out"
    )
    return decided(claim, found.withheld, reason)


def steadiness_claim(target: np.ndarray, baselines: Mapping[str, Baseline], seed: int) -> Claim:
    """C3: the target's IQR over that of each unrelated pair, and the difference of the means."""
    ratios, parts, withheld = {}, [], ""
    for name in ("published", "adjacent", "matched"):
        if name not in baselines:
            continue
        single, about = _one_group(baselines[name])
        ratio = steadiness(target, single, seed)
        ratios[name], withheld = ratio, withheld or ratio.withheld
        band = baselines[name].difference.band or baselines[name].stratified.band
        means = "" if band is None else f", means differ by {signed(mean(band.estimate, axis=0))} rad"
        parts.append(f"{name}{about} {bracketed(*numbers(ratio), marks=(1,))}{means}")
    if not ratios:
        return Claim(UNDETERMINED, unit="times", evidence="These prompts allow no unrelated pairs.")
    best = ratios.get("matched", next(iter(ratios.values())))
    below = [name for name, ratio in ratios.items() if ratio.high < 1]
    shown_so = verdict(len(below) == 3, any(ratio.low >= 1 for ratio in ratios.values()))
    evidence = f"IQR over prompts of the target's angle (mean over layers) over that of: {'; '.join(parts)}."
    against = " and ".join(below) or "none"
    reason = f"shown to be below 1 against {against}; it takes all of published, adjacent and matched"
    claim = Claim(shown_so, *numbers(best), "times", evidence + because(withheld))
    return decided(claim, withheld, reason)


def alike_claim(warmup: LeaveOut | None) -> Claim:
    """C7: the warm-up's own answer, read at `FROM` tokens."""
    if warmup is None:
        return Claim(UNDETERMINED, unit="tokens", evidence="The warm-up part was left out.")
    k_lo, k_hi = warmup.k_lo, warmup.k_hi
    shown_so = verdict(
        k_hi is not None and k_hi <= FROM, warmup.verdict == "drift" or (k_lo is not None and k_lo > FROM)
    )
    low, high = (np.nan if k is None else float(k) for k in (k_lo, k_hi))
    what = "show an upper bound" if k_hi is None else "make it exact"
    needed = f" About {warmup.n_needed:,} texts would {what}." if warmup.n_needed else ""
    evidence = f"All layers together: {warmup.verdict}, {_bounds(k_lo, k_hi)}.{needed}"
    claim = Claim(shown_so, float(warmup.alike), low, high, "tokens", evidence)
    return decided(claim, "", f"{_bounds(k_lo, k_hi)}; the claim allows {FROM}.{needed}".removesuffix("."))


_WIDE = {
    "holds": "The angle at the target is much wider than the target's rotation between layers",
    "fails": "The angle at the target is not much wider than the target's rotation between layers",
    "undetermined": "Whether the angle at the target is much wider than the target's rotation between layers "
    "is undetermined",
}
_STEADY = {
    "holds": "it varies less over prompts than that of unrelated pairs",
    "fails": "it does not vary less over prompts than that of unrelated pairs",
    "undetermined": "whether it varies less over prompts than that of unrelated pairs is undetermined",
}
_PUBLISHED = {"holds": " (as published)", "fails": " (elsewhere than published)"}
_UPPER = {
    "holds": "the upper group is the pairs with position 0",
    "fails": "the upper group is not exactly the pairs with position 0",
    "undetermined": "whether the upper group is the pairs with position 0 is undetermined",
}


def sentence(
    layers: Sequence[int], found: Baseline, warmup: LeaveOut | None, claims: Mapping[str, Claim]
) -> str:
    """The practical answer, the target as C1 and C3 have it, then whether and how the baseline splits, as C4
    and C5 have it."""
    said = f"{_target(claims['C1'], claims['C3'])} {_split(layers, found, claims['C4'], claims['C5'])}"
    if warmup is None:
        return f"{said} How many tokens to leave out was not measured."
    return f"{warmup.sentence} {said}"


def _target(wide: Claim, steady: Claim) -> str:
    size = estimate(wide.estimate, wide.low, wide.high, wide.unit)
    ratio = f" ({size})" if np.isfinite(wide.estimate) else ""
    return f"{_WIDE[wide.verdict]}{ratio}; {_STEADY[steady.verdict]}."


def _split(layers: Sequence[int], found: Baseline, two_modes: Claim, upper: Claim) -> str:
    two = [k for k, modes in enumerate(found.modes) if modes.has_two]
    if not two:
        return _no_split(found, two_modes)
    low, high = (np.mean([found.modes[k].means[side] for k in two]) for side in (0, 1))
    where = f"{named_layers(layers[k] for k in two)} ({len(two)} of {len(layers)})"
    split = f"The {found.name} baseline splits in two in {where}, about {low:.2f} and {high:.2f} rad"
    agreement = f"agreement {estimate(upper.estimate, upper.low, upper.high)}"
    others = sorted({a.position for k in two if (a := found.attribution[k]) is not None and a.position})
    explained = f"; position {' and '.join(map(str, others))} explains it" if others else ""
    published = _PUBLISHED.get(two_modes.verdict, "")
    return f"{split}{published}; {_UPPER[upper.verdict]} ({agreement}){explained}."


def _no_split(found: Baseline, two_modes: Claim) -> str:
    n, needed = max(modes.n for modes in found.modes), needed_prompts(found)
    if n < MIN_TEXTS:
        return (
            f"Undetermined whether the {found.name} baseline splits in two: there were {n} prompts, {needed} "
            "are needed."
        )
    if two_modes.verdict == "fails":
        return f"The {found.name} baseline does not split: its angles form one group in every layer."
    more = f"; {needed} prompts would show one" if n < needed else ""
    return f"No split of the {found.name} baseline was found, but a small upper group could hide{more}."


def _one_group(found: Baseline) -> tuple[np.ndarray, str]:
    """The single draw, without the position that splits it in two, and words for that."""
    single = found.angle[:, :, 0]
    positions = {a.position for a in found.attribution if a is not None and a.position is not None}
    for position in positions:
        single = without_position(single, found.pairs[0], position)
    return single, f" (without position {' and '.join(map(str, sorted(positions)))})" if positions else ""


def _span(x: np.ndarray) -> str:
    means = np.nanmean(x, axis=1)
    return interval(means.min(), means.max())


def _bounds(k_lo: int | None, k_hi: int | None) -> str:
    if k_lo is None:
        return "with no bound on how many tokens stand apart"
    if k_hi is None:
        return f"at least {k_lo} tokens stand apart, and no upper bound was shown"
    return f"at least {k_lo} and at most {k_hi} tokens stand apart"
