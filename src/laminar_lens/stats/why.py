"""Why first pairs stand apart: the verdict by layer and over all layers, of the effects of why_effects.py.

By layer, one simultaneous band covers E11, E01 − ½E11 and E10 − ½E11 in all layers, so that every verdict
named holds together with all others. The overall verdict is that of layers chosen on one half of the
observations and measured on the other, so that it is not one of a selected maximum.

Source: docs/definition.md, §4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from laminar_lens.axes import Labels
from laminar_lens.stats.bootstrap import (
    MIN_TEXTS,
    N_BOOT,
    Interval,
    mean_interval,
    nothing,
    simultaneous_band,
)
from laminar_lens.stats.streams import stream
from laminar_lens.stats.warmup_power import MIN_TEXTS as MIN_EQUIVALENCE
from laminar_lens.stats.why_effects import by_observation, cause

Array = np.ndarray

MIN_HALVES = 2 * MIN_TEXTS["band"]
"""Below so many observations no layers are named: one half must have a band."""


@dataclass(frozen=True)
class Found:
    """Layers that stand apart in one direction, chosen on one half, and why, measured on the other half.

    Attributes:
        layers: rows of the data.
        sign: "wider" or "narrower".
        verdict: one of `VERDICTS`, without "none".
        effects: mean over the layers of E11, E10 and E01, in radians.
    """

    layers: tuple[int, ...]
    sign: str
    verdict: str
    effects: dict[str, Interval]


@dataclass(frozen=True)
class WhyAnswer:
    """The answer, with the numbers behind it.

    Attributes:
        intervals: by effect, the mean over texts in each layer and its own 95% interval.
        bands: the same, covering all layers at once.
        verdicts, signs: by layer; signs are "wider", "narrower" or "none".
        verdict: over all layers, one of `VERDICTS`.
        sign: of the layers that decided it; "mixed" where they differ.
        found: what the overall verdict rests on, at most one a direction, the larger one first.
        n: independent observations; n_independent: texts or groups of texts that do not depend on each other.
        reason: why there is no verdict, or empty.
    """

    tau: float
    intervals: dict[str, Interval]
    bands: dict[str, Interval]
    verdicts: tuple[str, ...]
    signs: tuple[str, ...]
    verdict: str
    sign: str
    found: tuple[Found, ...]
    n: int
    n_independent: int
    reason: str


def why(
    values: Mapping[str, Float[Array, "n layer"]],
    *,
    tau: float = 0.05,
    groups: Labels = None,
    units: Labels = None,
    control: int | None = None,
    has_positions: bool = True,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> WhyAnswer:
    """The verdict by layer and over all layers, from the effects of each text.

    Args:
        values: as `effects` gives them.
        tau: an effect smaller than this, in radians, is none.
        groups: one label a text; texts of one group are averaged.
        units: one label a text; texts of one unit were measured with each other's tokens and are one
            observation. A group lies within one unit.
        control: the row of hidden state 0, which has no context: position can be its only cause, so that it
            decides the overall verdict only where nothing else stands apart.
        has_positions: False for models without positional embeddings that can be restarted.

    Raises:
        InputError: fewer than 2 observations; labels of another length; level out of range.
    """
    averaged, n_independent = by_observation(values, groups, units)
    n = len(averaged["E11"])
    resample: dict[str, Any] = {"level": level, "n_boot": n_boot, "seed": seed}
    intervals = _each(averaged, resample)
    bands = {
        name: simultaneous_band(x, **resample) if np.isfinite(x).any() else nothing(x.shape[1:], "")
        for name, x in averaged.items()
    }
    within = _within(bands["E11"], tau) & (n_independent >= MIN_EQUIVALENCE)
    verdicts, signs = _by_layer(averaged, within, tau, has_positions, resample)
    found = _named(averaged, tau, control, has_positions, resample)
    verdict, sign, reason = _overall(within, found, tau, n, n_independent)
    return WhyAnswer(
        tau, intervals, bands, verdicts, signs, verdict, sign, tuple(found), n, n_independent, reason
    )


def _each(x: Mapping[str, Float[Array, "n *shape"]], resample: dict[str, Any]) -> dict[str, Interval]:
    """By effect, an interval for each entry by itself, from the same resamples."""
    known = [name for name in x if np.isfinite(x[name]).any()]
    whole = mean_interval(np.stack([x[name] for name in known], axis=1), **resample)
    found = {
        name: replace(
            whole,
            estimate=np.asarray(whole.estimate[k]),
            low=np.asarray(whole.low[k]),
            high=np.asarray(whole.high[k]),
            n_valid=np.asarray(whole.n_valid[k]),
        )
        for k, name in enumerate(known)
    }
    return {name: found.get(name, nothing(x[name].shape[1:], "")) for name in x}


def _within(band: Interval, tau: float) -> Bool[Array, " layer"]:
    return np.asarray((band.low > -tau) & (band.high < tau))


def _contrasts(x: Mapping[str, Array], has_positions: bool) -> Float[Array, "n layer contrast"]:
    half = x["E11"] / 2
    parts = [x["E11"], x["E01"] - half, x["E10"] - half] if has_positions else [x["E11"]]
    return np.stack(parts, axis=-1)


def _oriented(low: Array, high: Array, up: bool) -> list[tuple[float, float]]:
    """Intervals of the contrasts [contrast], in the effect's sign."""
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    found = [(a, b) if up else (-b, -a) for a, b in pairs]
    return found + [(np.nan, np.nan)] * (3 - len(found))


def _by_layer(
    x: Mapping[str, Array], within: Array, tau: float, has_positions: bool, resample: dict[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    band = simultaneous_band(_contrasts(x, has_positions), **resample)
    verdicts, signs = [], []
    for layer, none in enumerate(within):
        up = bool(band.estimate[layer, 0] > 0)
        oriented = _oriented(band.low[layer], band.high[layer], up)
        found = "none" if none else cause(oriented, tau, has_positions=has_positions)
        apart = oriented[0][0] > tau
        signs.append(("wider" if up else "narrower") if apart else "none")
        verdicts.append(found)
    return tuple(verdicts), tuple(signs)


def _named(
    x: Mapping[str, Array], tau: float, control: int | None, has_positions: bool, resample: dict[str, Any]
) -> list[Found]:
    """Layers named by one half of the observations, and the cause in their mean over the other half."""
    n = len(x["E11"])
    if n < MIN_HALVES:
        return []
    order = stream(resample["seed"], "halves of the texts of a cause").permutation(n)
    choose, measure = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
    band = simultaneous_band(x["E11"][choose], **resample)
    found = []
    for sign, shown in (("wider", band.low > tau), ("narrower", band.high < -tau)):
        rows = np.flatnonzero(shown)
        deeper = rows[rows != control] if control is not None else rows
        if len(deeper):
            found.append((float(np.abs(band.estimate[deeper]).sum()), sign, deeper))
        elif len(rows):
            found.append((0.0, sign, rows))
    if any(size > 0 for size, *_ in found):
        found = [entry for entry in found if entry[0] > 0]
    found.sort(key=lambda entry: -entry[0])
    return [_measured(x, measure, sign, rows, tau, has_positions, resample) for _, sign, rows in found]


def _measured(
    x: Mapping[str, Array],
    measure: Int[Array, " m"],
    sign: str,
    rows: Int[Array, " row"],
    tau: float,
    has_positions: bool,
    resample: dict[str, Any],
) -> Found:
    """Contrasts and effects, averaged over the layers."""
    contrasts = _contrasts(x, has_positions)[measure][:, rows].mean(axis=1)
    interval = mean_interval(contrasts, **resample)
    oriented = _oriented(interval.low, interval.high, sign == "wider")
    verdict = cause(oriented, tau, has_positions=has_positions)
    sizes = _each({name: x[name][measure][:, rows].mean(axis=1) for name in ("E11", "E10", "E01")}, resample)
    return Found(tuple(rows.tolist()), sign, verdict, sizes)


def _overall(
    within: Array, found: list[Found], tau: float, n: int, n_independent: int
) -> tuple[str, str, str]:
    """Verdict, sign, and why there is no verdict."""
    if within.all():
        return "none", "none", ""
    if found:
        verdicts = {entry.verdict for entry in found}
        sign = found[0].sign if len(found) == 1 else "mixed"
        if len(verdicts) == 1:
            verdict = verdicts.pop()
            unclear = "an interval of the named layers crosses a threshold"
            return verdict, sign, unclear if verdict == "undetermined" else ""
        return "undetermined", sign, "layers that are wider and layers that are narrower have other causes"
    if n < MIN_HALVES:
        few = f"{n} observations; layers are named from {MIN_HALVES} up, half to choose and half to measure"
        return "undetermined", "none", few
    if n_independent < MIN_EQUIVALENCE:
        few = f"{n_independent} independent texts; that nothing is there is said from {MIN_EQUIVALENCE} up"
        return "undetermined", "none", few
    unclear = f"what being first does (E11) was shown neither to leave ±{tau:g} rad nor to stay inside"
    return "undetermined", "none", unclear
