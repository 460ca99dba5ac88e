"""What a warm-up looks like: size in named layers, share of texts, step against decay."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from laminar_lens.stats.bootstrap import Interval, mean_interval, simultaneous_band
from laminar_lens.stats.streams import stream

Array = np.ndarray

BODY = 0.95
"""A text is affected where its pair lies outside this central share of the pairs in the reference window."""

CLEAR = 2.0
"""Difference in AICc below which step and decay are not told apart."""


@dataclass(frozen=True)
class Effect:
    """Layers that stand apart in one direction, chosen on one half of the texts and measured on the other."""

    layers: tuple[int, ...]
    sign: str
    cells: tuple[tuple[int, int], ...]
    interval: Interval
    paired: Interval | None


@dataclass(frozen=True)
class Shape:
    """Fitted to one layer's curve: its kind, and for a decay the half-life in positions (else NaN)."""

    kind: Literal["step", "decay", "unclear", "none"]
    half_life: float
    height: float


def effects(
    d: Float[Array, "n layer pair"],
    k: int,
    tau: float,
    *,
    paired: Float[Array, "n layer some_pair"] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> list[Effect]:
    """How wide the first k pairs are, in the layers that stand apart: wider first, then narrower.

    Half of the texts, drawn at random, name the layers and pairs whose simultaneous band lies outside ±tau;
    the other half estimates the mean over them, so that the interval is not one of a selected maximum.

    Args:
        d: contrasts as `contrast` gives them, one row an independent text.
        paired: the same texts' paired shifts, measured over the same layers and pairs as far as they go.

    Returns:
        At most one effect a direction; none below 4 texts, for k = 0, or where half of the texts show
        nothing.
    """
    if k == 0 or len(d) < 4:
        return []
    order = stream(seed, "halves of the texts of a warm-up").permutation(len(d))
    choose, measure = np.sort(order[: len(d) // 2]), np.sort(order[len(d) // 2 :])
    band = simultaneous_band(d[choose, :, :k], level=level, seed=seed)
    shifted = np.zeros(d.shape[1:], dtype=bool)  # pairs that have a shift: with a BOS, the first has none
    if paired is not None:
        shifted[:, : paired.shape[-1]] = np.isfinite(paired).any(axis=0)
    found = []
    for sign, shown in (("wider", band.low > tau), ("narrower", band.high < -tau)):
        rows, pairs = np.nonzero(shown)
        if not len(rows):
            continue
        interval = mean_interval(d[measure][:, rows, pairs].mean(1), level=level, seed=seed)
        shift = None
        if paired is not None and (near := shifted[rows, pairs]).any():
            shift = mean_interval(paired[measure][:, rows[near], pairs[near]].mean(1), level=level, seed=seed)
        cells = tuple(zip(rows.tolist(), pairs.tolist(), strict=True))
        found.append(Effect(tuple(sorted(set(rows.tolist()))), sign, cells, interval, shift))
    return found


def share_affected(
    d: Float[Array, "n layer pair"], window: slice, k: int, *, level: float = 0.95
) -> Float[Array, "bound layer"]:
    """Share of texts whose most affected pair p < k leaves the body, beyond chance: estimate, low, high.

    The body is the central 95% of the layer's reference pairs. With an observed share s outside it on the
    effect's side (0.025 by chance) the estimate is (s − 0.025) / 0.975, at least 0; the bounds are
    Wilson's, moved the same way. NaN for k = 0.
    """
    out = np.full((3, d.shape[1]), np.nan)
    if k == 0:
        return out
    n, tail = len(d), (1 - BODY) / 2
    size = window.stop - window.start
    body = d[:, :, window] * (
        size / (size - 1) if size > 1 else 1.0
    )  # minus the mean of the others, as outside it
    mean = d[:, :, :k].mean(0)
    pair = np.abs(mean).argmax(-1)
    z = float(ndtri((1 + level) / 2))
    for layer, p in enumerate(pair):
        low, high = np.quantile(body[:, layer], [tail, 1 - tail])
        beyond = d[:, layer, p] > high if mean[layer, p] > 0 else d[:, layer, p] < low
        s = float(beyond.mean())
        centre, reach = s + z**2 / (2 * n), z * np.sqrt(s * (1 - s) / n + z**2 / (4 * n**2))
        bounds = np.array([s, (centre - reach) / (1 + z**2 / n), (centre + reach) / (1 + z**2 / n)])
        out[:, layer] = np.clip((bounds - tail) / (1 - tail), 0, 1)
    return out


def shape(
    delta: Float[Array, " pair"], error: Float[Array, " pair"], window: slice, shown: bool = True
) -> Shape:
    """Step or decay: which of a·[p < k] and a·exp(−p/h), both minus their mean over R, fits the tested pairs.

    Weighted by the standard errors and compared by AICc with two parameters each; differences below 2 are
    "unclear", unless both fits say "the first pair only". "none" where no difference was shown.
    """
    tested = slice(0, window.start)
    y, weight = delta[tested], 1 / np.maximum(error[tested], 1e-9) ** 2
    if not shown or len(y) < 4:
        return Shape("none", float("nan"), float("nan"))
    position = np.arange(window.stop)
    rates = np.geomspace(0.15, 2 * window.start, 200)
    steps = (position < np.arange(1, window.start)[:, None]).astype(float)
    decays = np.exp(-position / rates[:, None])
    (step_loss, k, step_height), (loss, r, height) = (_fit(c, y, weight, window) for c in (steps, decays))
    half_life = float(rates[r] * np.log(2))
    # both have two parameters, so that AICc's penalties are equal and its difference is that of the losses
    first_only = k == 0 and half_life < 0.5
    if step_loss <= loss - CLEAR or first_only:
        return Shape("step", float("nan"), step_height)
    kind: Literal["decay", "unclear"] = "decay" if loss <= step_loss - CLEAR else "unclear"
    return Shape(kind, half_life, height)


def _fit(curves: Array, y: Array, weight: Array, window: slice) -> tuple[float, int, float]:
    """Smallest weighted sum of squares over the candidate curves, its index, and its height."""
    centred = curves - curves[:, window].mean(-1, keepdims=True)
    x = centred[:, : len(y)]
    height = (x * y * weight).sum(-1) / (x**2 * weight).sum(-1)
    loss = ((y - height[:, None] * x) ** 2 * weight).sum(-1)
    best = int(loss.argmin())
    return float(loss[best]), best, float(height[best])
