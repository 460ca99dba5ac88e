"""Two modes or one; `attribute` then says which position explains the upper one.

BIC alone calls every exponential two modes, so a second mode must also be separated, heavy enough, set apart
by a valley, and more than one-mode shapes of the same size show by chance.

Sources: Ashman, Bird & Zepf (1994) (D); McLachlan (1987) (parametric bootstrap of the likelihood ratio).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Shaped

from laminar_lens.errors import InputError
from laminar_lens.stats.attribution import Attribution, attribute
from laminar_lens.stats.streams import stream
from laminar_lens.stats.two_component import TwoComponents, fit_two

__all__ = ["Attribution", "TwoModes", "attribute", "two_modes_by_layer"]

MIN_TEXTS = 20  # validated from here up (tests/validate/TABLE.md)
MIN_MEMBERS = 3  # texts in the smaller mode: two points are not a mode
MIN_DELTA_BIC = 10.0
MIN_ASHMAN_D = 2.0
MIN_WEIGHT = 0.05
MAX_VALLEY = 0.5
MAX_P = 0.02  # of the one-mode shapes; leaves room under 5% for the Monte Carlo error of the simulation
N_NULL = 299  # simulated samples of each one-mode shape
SKEWNESSES = (0.0, 0.25, 0.5, 0.75, 0.99)  # of the simulated skew-normals; the family ends at 0.995
GAMMA_SKEWNESSES = (1.5, 2.0, 2.8)  # beyond it the one-mode shape is a gamma; 2 is the exponential
VALLEY_POINTS = 256


@dataclass(frozen=True, eq=False)
class TwoModes:
    """Whether a sample has two modes, with every quantity behind the answer.

    Attributes:
        has_two: all criteria hold.
        means, sds, weights: of the lower and the upper component, in the data's unit; NaN if nothing was
            fitted.
        delta_bic: BIC of one normal minus BIC of two; above 10 is required.
        ashman_d: separation of the means in standard deviations; above 2 is required.
        valley_ratio: lowest density between the means over the lower peak; at most 0.5 is required.
        p_one_mode: the larger p of the one-mode shapes (uniform; skew-normal, or gamma where the skewness is
            larger than a skew-normal can have), at most 0.02 is required; NaN where a cheaper criterion had
            failed before.
        reason: why it says one mode; empty if two.
        upper: by text, above the valley; all False unless has_two, and False for missing values.
        n: texts with a value.
    """

    has_two: bool
    means: tuple[float, float]
    sds: tuple[float, float]
    weights: tuple[float, float]
    delta_bic: float
    ashman_d: float
    valley_ratio: float
    p_one_mode: float
    reason: str
    upper: Bool[np.ndarray, " n_texts"]
    n: int


def two_modes_by_layer(x: Shaped[np.ndarray, "..."], *, seed: int = 0) -> list[TwoModes]:
    """Whether the texts of each layer of `x` [n layer] have two modes; NaN is left out. The fits of all
    layers share one pass.

    Raises:
        InputError: not two axes, or no layer with two values.

    Source: Ashman, Bird & Zepf (1994); McLachlan (1987).
    """
    values = np.array(x, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(f"samples of shape {values.shape} for two_modes_by_layer: give [texts, layers]")
    valid = np.isfinite(values)
    counts = valid.sum(axis=0)
    if counts.size == 0 or counts.max() < 2:
        raise InputError(
            f"{0 if counts.size == 0 else counts.max()} texts with a value: two modes need at least 2"
        )
    answers: list[TwoModes | None] = [None] * values.shape[1]
    fittable: dict[int, list[int]] = {}
    for layer, n in enumerate(counts.tolist()):
        spread = np.ptp(values[valid[:, layer], layer]) if n else 0.0
        if n < MIN_TEXTS:
            answers[layer] = _not_fitted(
                f"{n} texts: two modes are not sought below {MIN_TEXTS}", valid[:, layer]
            )
        elif spread <= 1e-12 * np.abs(values[valid[:, layer], layer]).max():
            answers[layer] = _not_fitted("all values are equal", valid[:, layer])
        else:
            fittable.setdefault(n, []).append(layer)
    for layers in fittable.values():
        samples = np.stack([values[valid[:, layer], layer] for layer in layers])
        fit = fit_two(samples)
        for row, layer in enumerate(layers):
            answers[layer] = _decide(fit, row, samples[row], valid[:, layer], seed)
    return [answer for answer in answers if answer is not None]


def _not_fitted(reason: str, valid: Bool[np.ndarray, " n"]) -> TwoModes:
    nan, pair = float("nan"), (float("nan"), float("nan"))
    upper, n = np.zeros(len(valid), dtype=bool), int(valid.sum())
    return TwoModes(False, pair, pair, pair, nan, nan, nan, nan, reason, upper, n)


def _decide(
    fit: TwoComponents,
    row: int,
    sample: Float[np.ndarray, " n_valid"],
    valid: Bool[np.ndarray, " n"],
    seed: int,
) -> TwoModes:
    n = len(sample)
    means, sds, weights = fit.means[row], fit.sds[row], fit.weights[row]
    delta_bic = 2 * float(fit.gain[row]) - 3 * float(np.log(n))  # three parameters more
    ashman_d = float(np.sqrt(2) * (means[1] - means[0]) / np.hypot(sds[0], sds[1]))
    valley_ratio, valley_at = _valley(fit, row)
    reason = _cheap_reason(delta_bic, float(weights.min()), n, ashman_d, valley_ratio)
    p = float("nan")
    if not reason:
        p = _p_one_mode(float(fit.gain[row]), sample, seed)
        if p > MAX_P:
            reason = f"one-mode shapes (uniform, skewed) do as well: p = {p:.3f}"
    upper = np.zeros(len(valid), dtype=bool)
    if not reason:
        upper[valid] = sample > valley_at
    pairs = [(float(low), float(high)) for low, high in (means, sds, weights)]
    sizes = (delta_bic, ashman_d, valley_ratio, p)
    return TwoModes(not reason, pairs[0], pairs[1], pairs[2], *sizes, reason, upper, n)


def _cheap_reason(delta_bic: float, weight: float, n: int, ashman_d: float, valley_ratio: float) -> str:
    if delta_bic <= MIN_DELTA_BIC:
        return f"ΔBIC is {delta_bic:.1f}, not above {MIN_DELTA_BIC:g}".replace("-", "−")
    if weight < MIN_WEIGHT:
        return f"the smaller component has weight {weight:.3f}, below {MIN_WEIGHT:g}"
    if weight * n < MIN_MEMBERS - 0.5:
        return f"the smaller component has {weight * n:.1f} texts, fewer than {MIN_MEMBERS}"
    if ashman_d <= MIN_ASHMAN_D:
        return f"Ashman's D is {ashman_d:.2f}, not above {MIN_ASHMAN_D:g}"
    if valley_ratio > MAX_VALLEY:
        return f"the valley is {valley_ratio:.2f} of the lower peak, more than {MAX_VALLEY:g}"
    return ""


def _valley(fit: TwoComponents, row: int) -> tuple[float, float]:
    """The deepest dip of the density between the means over the lower peak beside it, and where it is."""
    grid = np.linspace(fit.means[row, 0], fit.means[row, 1], VALLEY_POINTS)
    density = fit.density(row, grid)
    left, right = np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1]
    ratio = density / np.minimum(left, right)
    lowest = int(np.argmin(ratio))
    return float(ratio[lowest]), float(grid[lowest])


def _p_one_mode(gain: float, sample: Float[np.ndarray, " n"], seed: int) -> float:
    """The larger of the two shapes' p = (1 + #≥)/(B + 1) for the likelihood gained by a second component.

    The gain is free of location and scale, so the simulated samples depend only on n and on the skewness,
    which is rounded up to a grid: layers share them.
    """
    deviation = sample - sample.mean()
    skewness = abs(float((deviation**3).mean())) / float((deviation**2).mean()) ** 1.5
    known = SKEWNESSES + GAMMA_SKEWNESSES
    nearest = min((value for value in known if value >= skewness), default=known[-1])
    p_values = [
        (1 + np.count_nonzero(_null_gains(shape, len(sample), seed) >= gain)) / (N_NULL + 1)
        for shape in ("uniform", nearest)
    ]
    return float(max(p_values))


@lru_cache(maxsize=64)
def _null_gains(shape: str | float, n: int, seed: int) -> Float[np.ndarray, " sample"]:
    """Likelihood gains of samples of size n from a uniform, or a skew-normal or gamma of that skewness."""
    size = (N_NULL, n)
    rng = stream(seed, "samples of one mode", n)
    if isinstance(shape, str):
        samples = rng.random(size)
    elif shape in GAMMA_SKEWNESSES:
        samples = rng.gamma(4 / shape**2, size=size)
    else:
        cubed = shape ** (2 / 3)
        delta = np.sqrt(np.pi / 2 * cubed / (cubed + ((4 - np.pi) / 2) ** (2 / 3)))
        samples = delta * np.abs(rng.normal(size=size)) + np.sqrt(1 - delta**2) * rng.normal(size=size)
    return np.asarray(fit_two(samples).gain)
