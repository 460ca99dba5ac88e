"""Mixtures of two normals in one dimension, for many samples at once.

Every sample is standardised first, so the variance floor is in units of the sample's variance. One EM step is
two batched matrix products and one exponential an element: 49 layers, or hundreds of simulated samples, cost
one pass.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from laminar_lens.stats.one_thread import one_thread

VARIANCE_FLOOR = 1e-3  # of the sample's variance
SPLITS = (
    0.08,
    0.2,
    0.35,
    0.5,
    0.65,
    0.8,
    0.92,
)  # EM starts from the two sides of these quantiles, and of the widest gap
FIRST_ITERATIONS = 12  # of every start; only the best KEPT go on
KEPT = 2
ITERATIONS = 120
TOLERANCE = 1e-4  # in standard deviations of the sample, for the largest change of a mean or sd
LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, eq=False)
class TwoComponents:
    """The best fit of each sample; component 0 has the lower mean. Means and sds in the data's unit."""

    weights: Float[np.ndarray, "sample 2"]
    means: Float[np.ndarray, "sample 2"]
    sds: Float[np.ndarray, "sample 2"]
    log_likelihood: Float[np.ndarray, " sample"]
    one_component: Float[np.ndarray, " sample"]  # log-likelihood of a single normal

    @property
    def gain(self) -> Float[np.ndarray, " sample"]:
        """Log-likelihood gained over one normal; free of the data's location and scale."""
        return np.asarray(self.log_likelihood - self.one_component)

    def density(self, sample: int, x: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """The fitted density of one sample at `x`, per unit of the data."""
        z = (x[:, None] - self.means[sample]) / self.sds[sample]
        return np.asarray(
            (np.exp(-0.5 * z**2) * self.weights[sample] / self.sds[sample]).sum(1) / np.sqrt(2 * np.pi)
        )


def fit_two(x: Float[np.ndarray, "sample n"]) -> TwoComponents:
    """Maximum likelihood by EM from several starts, variances floored; no NaN, no constant sample.

    Among the starts the best likelihood wins; the floor and the starts (splits at quantiles and at the widest
    gap) keep a single close pair of points from doing so.
    """
    location, scale = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
    z = np.sort((x - location) / scale, axis=1)
    basis = np.stack([np.ones_like(z), z, z**2], axis=-1)  # sample n 3
    rows = np.arange(len(z))
    tried = _expectation_maximisation(basis, _starts(z), FIRST_ITERATIONS)
    promising = np.argsort(-_log_likelihood(z, tried), axis=1, kind="stable")[:, :KEPT]
    parameters = _expectation_maximisation(basis, tried[rows[:, None], promising], ITERATIONS)
    log_likelihood = _log_likelihood(z, parameters)
    best = np.argmax(log_likelihood, axis=1)
    chosen = parameters[rows, best]
    order = np.argsort(chosen[:, 1], axis=1, kind="stable")
    weights, means, variances = (np.take_along_axis(chosen[:, k], order, axis=1) for k in range(3))
    n = z.shape[1]
    jacobian = -n * np.log(scale[:, 0])
    single = -0.5 * n * (LOG_2PI + 1) + jacobian
    return TwoComponents(
        weights,
        means * scale + location,
        np.sqrt(variances) * scale,
        log_likelihood[rows, best] + jacobian,
        single,
    )


def _starts(z: Float[np.ndarray, "sample n"]) -> Float[np.ndarray, "sample start 3 2"]:
    """Weights, means and variances of the two sides of each split of the sorted sample."""
    samples, n = z.shape
    inner = slice(1, n - 2)
    gaps = np.diff(z, axis=1)[:, inner] if n > 4 else np.diff(z, axis=1)
    widest = np.argmax(gaps, axis=1) + (2 if n > 4 else 1)
    fixed = (
        np.clip(np.round(np.array(SPLITS) * n).astype(int), 2, n - 2)
        if n > 4
        else np.full(len(SPLITS), n // 2)
    )
    cut = np.concatenate([np.broadcast_to(fixed, (samples, len(fixed))), widest[:, None]], axis=1)
    sums = np.concatenate([np.zeros((samples, 1)), np.cumsum(z, axis=1)], axis=1)
    squares = np.concatenate([np.zeros((samples, 1)), np.cumsum(z**2, axis=1)], axis=1)
    low, low_squares = np.take_along_axis(sums, cut, axis=1), np.take_along_axis(squares, cut, axis=1)
    counts = np.stack([cut, n - cut], axis=-1).astype(np.float64)
    totals = np.stack([low, sums[:, -1:] - low], axis=-1)
    square_totals = np.stack([low_squares, squares[:, -1:] - low_squares], axis=-1)
    return _maximise(counts, totals, square_totals)


def _maximise(
    counts: Float[np.ndarray, "*batch 2"],
    totals: Float[np.ndarray, "*batch 2"],
    squares: Float[np.ndarray, "*batch 2"],
) -> Float[np.ndarray, "*batch 3 2"]:
    counts = np.maximum(counts, 1e-8)
    means = totals / counts
    variances = np.maximum(squares / counts - means**2, VARIANCE_FLOOR)
    return np.stack([counts / counts.sum(axis=-1, keepdims=True), means, variances], axis=-2)


@one_thread
def _expectation_maximisation(
    basis: Float[np.ndarray, "sample n 3"], parameters: Float[np.ndarray, "sample start 3 2"], iterations: int
) -> Float[np.ndarray, "sample start 3 2"]:
    """EM for all samples and starts; a sample leaves the loop once all its starts have settled."""
    parameters = parameters.copy()
    active, data = np.arange(len(basis)), basis
    for _ in range(iterations):
        current = parameters[active]
        share = expit(_log_odds(current) @ data.swapaxes(1, 2))  # of component 1
        upper = share @ data  # sample start 3: its count, sum and sum of squares
        both = np.stack([data.sum(axis=1)[:, None, :] - upper, upper], axis=-1)
        updated = _maximise(both[:, :, 0], both[:, :, 1], both[:, :, 2])
        parameters[active] = updated
        moved = np.maximum(
            np.abs(updated[:, :, 1] - current[:, :, 1]),
            np.abs(np.sqrt(updated[:, :, 2]) - np.sqrt(current[:, :, 2])),
        ).max(axis=(1, 2))
        going = moved > TOLERANCE
        if not going.any():
            break
        if going.mean() < 0.8:
            active, data = active[going], data[going]
    return parameters


def _log_odds(parameters: Float[np.ndarray, "sample start 3 2"]) -> Float[np.ndarray, "sample start 3"]:
    """Coefficients of 1, z, z² in the log odds of component 1 against component 0."""
    weights, means, variances = parameters[:, :, 0], parameters[:, :, 1], parameters[:, :, 2]
    constant = np.log(weights) - 0.5 * np.log(variances) - 0.5 * means**2 / variances
    terms = np.stack([constant, means / variances, -0.5 / variances], axis=2)
    return np.asarray(terms[..., 1] - terms[..., 0])


def _log_likelihood(
    z: Float[np.ndarray, "sample n"], parameters: Float[np.ndarray, "sample start 3 2"]
) -> Float[np.ndarray, "sample start"]:
    weights, means, variances = (parameters[:, :, k, :, None] for k in range(3))
    deviation = z[:, None, None, :] - means
    logs = np.log(weights) - 0.5 * (LOG_2PI + np.log(variances) + deviation**2 / variances)
    return np.asarray(np.logaddexp(logs[:, :, 0], logs[:, :, 1]).sum(axis=-1))
