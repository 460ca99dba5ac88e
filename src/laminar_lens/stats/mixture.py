"""Two modes or one, which position explains the upper one, and what that does to a mean and a median.

BIC alone calls every exponential two modes, so a second mode must also be separated, heavy enough, set apart
by a valley, and more than one-mode shapes of the same size show by chance.

Sources: Ashman, Bird & Zepf (1994) (D); McLachlan (1987) (parametric bootstrap of the likelihood ratio);
Vinh, Epps & Bailey (2010) (adjusted mutual information); Westfall & Young (1993) (maximum over positions).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import gammaln

from laminar_lens.errors import InputError
from laminar_lens.stats.two_component import TwoComponents, fit_two

MIN_TEXTS = 20  # validated from here up (tests/validate/TABLE.md)
MIN_MEMBERS = 3  # texts in the smaller mode: two points are not a mode
MIN_DELTA_BIC = 10.0
MIN_ASHMAN_D = 2.0
MIN_WEIGHT = 0.05
MAX_VALLEY = 0.5
MAX_P = (
    0.02  # of the one-mode shapes; leaves room under 5% for the Monte Carlo error of the simulated samples
)
MAX_P_ATTRIBUTION = 0.01
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
        fitted. delta_bic: BIC of one normal minus BIC of two; above 10 is required. ashman_d: separation of
        the means in standard deviations; above 2 is required. valley_ratio: lowest density between the means
        over the lower peak, in [0, 1]; at most 0.5 is required. p_one_mode: the larger p of the one-mode
        shapes (uniform; skew-normal, or gamma where the skewness is larger than a
            skew-normal can have), at most 0.02 is required; NaN where a cheaper criterion had failed before.
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


def two_modes(x: Shaped[np.ndarray, "..."], *, seed: int = 0) -> TwoModes:
    """Decide whether one sample [n], one value a text, has two modes; NaN is left out.

    Raises:
        InputError: not one axis, or fewer than two values.

    Source: Ashman, Bird & Zepf (1994); McLachlan (1987).
    """
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(
            f"a sample of shape {values.shape} for two_modes: give one value a text, or two_modes_by_layer"
        )
    return two_modes_by_layer(values[:, None], seed=seed)[0]


def two_modes_by_layer(x: Shaped[np.ndarray, "..."], *, seed: int = 0) -> list[TwoModes]:
    """`two_modes` for each layer of `x` [n layer]; the fits of all layers share one pass.

    Raises:
        InputError: not two axes, or no layer with two values.
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
    return TwoModes(
        False,
        pair,
        pair,
        pair,
        nan,
        nan,
        nan,
        nan,
        reason,
        np.zeros(len(valid), dtype=bool),
        int(valid.sum()),
    )


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
    return TwoModes(
        not reason,
        (float(means[0]), float(means[1])),
        (float(sds[0]), float(sds[1])),
        (float(weights[0]), float(weights[1])),
        delta_bic,
        ashman_d,
        valley_ratio,
        p,
        reason,
        upper,
        n,
    )


def _cheap_reason(delta_bic: float, weight: float, n: int, ashman_d: float, valley_ratio: float) -> str:
    if delta_bic <= MIN_DELTA_BIC:
        return f"ΔBIC is {delta_bic:.1f}, not above {MIN_DELTA_BIC:g}"
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
    rng = np.random.default_rng([seed, n])
    if isinstance(shape, str):
        samples = rng.random(size)
    elif shape in GAMMA_SKEWNESSES:
        samples = rng.gamma(4 / shape**2, size=size)
    else:
        cubed = shape ** (2 / 3)
        delta = np.sqrt(np.pi / 2 * cubed / (cubed + ((4 - np.pi) / 2) ** (2 / 3)))
        samples = delta * np.abs(rng.normal(size=size)) + np.sqrt(1 - delta**2) * rng.normal(size=size)
    return np.asarray(fit_two(samples).gain)


@dataclass(frozen=True)
class Attribution:
    """Which position explains the upper mode.

    Attributes:
        position: the position, or None where no position explains it (p above 0.01).
        precision: of the pairs that contain the position, the share in the upper mode.
        recall: of the upper mode, the share of pairs that contain the position.
        ami: adjusted mutual information, 1 = the same split, 0 = chance, negative = the position avoids the
        upper mode. p: permutation p over the maximum of positions; 1 where nothing could be tested.
        candidate: the position that precision, recall, ami and p are about; None if nothing could be tested.
    """

    position: int | None
    precision: float
    recall: float
    ami: float
    p: float
    candidate: int | None


def attribute(
    upper: Bool[np.ndarray, " n"], pairs: Shaped[np.ndarray, "..."], *, n_perm: int = 2000, seed: int = 0
) -> Attribution:
    """Find the position whose presence in a pair explains the upper mode; call it only for two modes.

    Args:
        upper: by text, whether its pair lies in the upper mode.
        pairs: by text, the two positions of its pair [n 2]; an index -1 means no pair, and the text is left
        out.

    Raises:
        InputError: shapes that do not fit, or n_perm below 1.

    Source: Vinh, Epps & Bailey (2010); maximum over positions after Westfall & Young (1993).
    """
    pairs, upper = np.asarray(pairs), np.asarray(upper, dtype=bool)
    if pairs.shape != (len(upper), 2):
        raise InputError(f"pairs of shape {pairs.shape} for {len(upper)} texts: give two positions a text")
    if n_perm < 1:
        raise InputError(f"n_perm={n_perm} draws no permutation: give at least 1, usually 2000")
    kept = (pairs >= 0).all(axis=1)
    pairs, upper = pairs[kept], upper[kept]
    n, n_upper = len(upper), int(upper.sum())
    if n_upper in (0, n):
        return Attribution(None, float("nan"), float("nan"), float("nan"), 1.0, None)
    positions = np.unique(pairs)
    contains = (pairs[:, :, None] == positions).any(axis=1)  # text position
    sizes = contains.sum(axis=0)
    table = np.stack([_ami_by_overlap(n, n_upper, int(size)) for size in sizes])  # position overlap
    overlap = upper.astype(np.int64) @ contains
    observed = table[np.arange(len(positions)), overlap]
    best = int(np.argmax(observed))
    shuffled = np.random.default_rng(seed).permuted(np.broadcast_to(upper, (n_perm, n)), axis=1)
    overlaps = np.rint(shuffled.astype(np.float64) @ contains).astype(np.int64)
    largest = table[np.arange(len(positions)), overlaps].max(axis=1)
    p = float((1 + np.count_nonzero(largest >= observed[best] - 1e-9)) / (n_perm + 1))
    position = int(positions[best])
    return Attribution(
        position if p <= MAX_P_ATTRIBUTION and observed[best] > 0 else None,
        float(overlap[best] / sizes[best]),
        float(overlap[best] / n_upper),
        float(observed[best]),
        p,
        position,
    )


def _ami_by_overlap(n: int, n_upper: int, size: int) -> Float[np.ndarray, " overlap"]:
    """Adjusted mutual information of two subsets of n texts, by overlap 0 … n_upper; −|AMI| below chance.

    With both sizes fixed the overlap is hypergeometric by chance, so the expectation is a sum over overlaps.
    """
    k = np.arange(n_upper + 1)
    possible = (k <= size) & (k >= size + n_upper - n)
    cells = np.stack([k, n_upper - k, size - k, n - n_upper - size + k]).astype(np.float64)
    margins = np.array(
        [n_upper * size, n_upper * (n - size), (n - n_upper) * size, (n - n_upper) * (n - size)], float
    )
    filled = np.where(possible & (cells > 0), cells, 1.0)
    expected_cells = np.maximum(margins / n, 1e-300)[:, None]
    information = np.where(possible & (cells > 0), filled / n * np.log(filled / expected_cells), 0.0).sum(
        axis=0
    )
    factorials = gammaln(np.maximum(cells, 0) + 1).sum(axis=0)
    constant = gammaln(np.array([n_upper, n - n_upper, size, n - size]) + 1.0).sum() - gammaln(n + 1.0)
    chance = float((np.exp(constant - factorials) * possible * information).sum())
    top = 0.5 * (_entropy(n_upper / n) + _entropy(size / n))
    if top - chance < 1e-12:  # a position in every pair or in none
        return np.zeros(n_upper + 1)
    adjusted = (information - chance) / (top - chance)
    below = k < n_upper * size / n
    return np.where(possible, np.where(below, -np.abs(adjusted), adjusted), 0.0)


def _entropy(share: float) -> float:
    parts = np.array([share, 1 - share])
    parts = parts[parts > 0]
    return float(-(parts * np.log(parts)).sum())
